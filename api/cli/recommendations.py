"""`backline recommendations`: what a user may like."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.options import AsJson, Data, Url


class Index(StrEnum):
    """What is recommended from."""

    CATALOGUE = "catalogue"
    TRACKS = "tracks"


User = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
IndexName = Annotated[Index, typer.Option("--index", help="Out of what.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many.")]

app = typer.Typer(add_completion=False)


@app.command()
def recommendations(
    user: User,
    *,
    index: IndexName = Index.CATALOGUE,
    limit: Limit = 20,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show what a user may like, as the last job of the kind recommendations has worked it out.

    Example: backline submit recommendations '{"userId": "ada"}' && backline recommendations ada
    """
    with connect(url, data) as client:
        answer = client.recommendations(user, index=index.value, limit=limit)
    if as_json:
        output.print_json(answer)
        return
    if answer["recommendations"]:
        columns = ("rank", "score", "title", "id", "reason")
        output.stdout().print(output.table(columns, map(_row, answer["recommendations"]), right=("rank", "score")))
    else:
        output.say("They have expired." if answer["expired"] else "There are none.")
    if answer["advice"]:
        output.say(output.clean(answer["advice"]))


def _row(one: Json) -> tuple[object, ...]:
    return one["rank"], f"{one['score']:.2f}", one["title"], one["itemId"] or one["trackId"], one["reason"]
