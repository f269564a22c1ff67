"""`backline indexes`: what search looks in, and the way back to the state before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.options import AsJson, Data, Url

Name = Annotated[str, typer.Argument(metavar="NAME", help="catalogue or tracks.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="List what search looks in, or go back a state.")


@app.command("list")
def list_indexes(*, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the indexes: what is in them, and since when."""
    with connect(url, data) as client:
        answer = client.indexes()
    if as_json:
        output.print_json(answer)
    elif not answer["indexes"]:
        output.say("There is no index yet: submit a job of the kind vector_index.")
    else:
        _print(answer["indexes"])


@app.command("rollback")
def roll_back(name: Name, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Make the state before the current one current again."""
    with connect(url, data) as client:
        index = client.roll_back_index(name)
    if as_json:
        output.print_json(index)
    else:
        _print([index])


def _print(indexes: Sequence[Json]) -> None:
    columns = ("index", "entries", "size", "built", "recall", "state before")
    output.stdout().print(output.table(columns, map(_row, indexes), right=("entries", "size", "recall")))


def _row(index: Json) -> tuple[object, ...]:
    return (
        index["name"],
        f"{index['entries']:,}",
        f"{index['bytes'] / 1e6:.1f} MB",
        output.relative(index["builtAt"]),
        f"{index['recall']:.3f}",
        "yes" if index["previous"] else "no",
    )
