"""`backline clusters`: the groups that an index falls into."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.options import AsJson, Data, Url
from api.cli.recommendations import Index

TYPICAL_SHOWN = 3

IndexName = Annotated[Index, typer.Option("--index", help="What was divided.")]
Item = Annotated[str | None, typer.Option("--item", metavar="ID", help="An entry, to learn in which group it is.")]

app = typer.Typer(add_completion=False)


@app.command("clusters")
def clusters(
    *,
    index: IndexName = Index.CATALOGUE,
    item: Item = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show the groups of what is alike, as the last job of the kind clusters has found them.

    Example: backline submit clusters '{"index": "tracks"}' --watch && backline clusters --index tracks
    """
    with connect(url, data) as client:
        answer = client.clusters(index=index.value, item=item)
    if as_json:
        output.print_json(answer)
        return
    if answer["clusters"]:
        columns = ("group", "entries", "label", "typical")
        output.stdout().print(output.table(columns, map(_row, answer["clusters"]), right=("group", "entries")))
    if item is not None and answer["clusters"]:
        number = answer["itemCluster"]
        output.say(output.clean(f"{item} is in no group." if number is None else f"{item} is in group {number}."))
    if answer["advice"]:
        output.say(output.clean(f"There are none. {answer['advice']}"))


def _row(one: Json) -> tuple[object, ...]:
    typical = (each["title"] or each["id"].rpartition("\n")[2] for each in one["representatives"][:TYPICAL_SHOWN])
    return one["number"], f"{one['size']:,}", one["label"], ", ".join(typical)
