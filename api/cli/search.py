"""`backline search`: what the catalogue and the analysed music hold."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import WrongInput
from api.cli.hits import print_hits
from api.cli.options import AsJson, Data, Url, User
from shared.search import LIMIT_MAX, Feature, Mode

CATALOGUE, TRACKS = "catalogue", "tracks"

Query = Annotated[str | None, typer.Argument(metavar="[QUERY]", help="Words, or a description in words.")]
IndexName = Annotated[str, typer.Option("--index", metavar="NAME", help="Where to look: catalogue or tracks.")]
Years = Annotated[str | None, typer.Option("--year", metavar="Y|FROM-TO", help="Only of these years: 1998, 2000-2010.")]
Types = Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="Only TV, MOVIE ...; may be repeated.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="Only with this tag; may be repeated.")]
Tempos = Annotated[str | None, typer.Option("--tempo", metavar="FROM-TO", help="Only tracks of this tempo: 118-124.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--near", metavar="FEATURE=VALUE", help="Tracks near to it: energy=0.8; may be repeated."),
]
Filters = Annotated[
    str | None,
    typer.Option("--filters", metavar="JSON", help='Any others, as the API takes them: \'{"episodes": {"max": 13}}\'.'),
]
How = Annotated[Mode, typer.Option("--mode", help="By meaning, by the words as they are written, or both.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=LIMIT_MAX, metavar="N", help="At most so many.")]

app = typer.Typer(add_completion=False)


@app.command("search")
def search(
    query: Query = None,
    *,
    index: IndexName = CATALOGUE,
    year: Years = None,
    kind: Types = None,
    tag: Tags = None,
    tempo: Tempos = None,
    near: Targets = None,
    more: Filters = None,
    mode: How = Mode.HYBRID,
    limit: Limit = 20,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Search the catalogue, or with `--index tracks` the tracks that were analysed.

    Example: backline search "bounty hunters in space" --year 1990-2010 --tag noir
    """
    if index not in (CATALOGUE, TRACKS):
        raise WrongInput(f"There is no index {index!r}.", hint="Name catalogue or tracks.")
    given = {"year": _range(year, "--year"), "types": kind, "tempo": _range(tempo, "--tempo")}
    filters = _object(more) | {field: value for field, value in given.items() if value}
    if tag:
        filters["tags"] = {**(filters.get("tags") or {}), "all": tag}
    wanted: Json = {"index": index, "mode": mode.value, "limit": limit, "filters": filters}
    optional = {"query": query, "userId": user, "targets": dict(map(_target, near or ()))}
    wanted |= {field: value for field, value in optional.items() if value}
    with connect(url, data) as client:
        print_hits(client.search(wanted), as_json=as_json)


def _object(text: str | None) -> Json:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise WrongInput(f"--filters {text!r} is no JSON object.", hint='Write {"episodes": {"max": 13}}, say.')
    return value


def _range(text: str | None, option: str) -> Json | None:
    if text is None:
        return None
    low, dash, high = text.partition("-")
    try:
        bounds = {"min": float(low)} if low else {}
        if high or not dash:
            bounds["max"] = float(high or low)
    except ValueError:
        bounds = {}
    if not bounds:
        raise WrongInput(f"{option} {text!r} is no range.", hint="Write 1998, 2000-2010, 2000- or -2010.")
    return bounds


def _target(text: str) -> tuple[str, float]:
    feature, _, value = text.partition("=")
    try:
        return Feature(feature.strip()).value, float(value)
    except ValueError:
        names = ", ".join(Feature)
        raise WrongInput(
            f"--near {text!r} names no feature and value.", hint=f"energy=0.8, say; one of {names}."
        ) from None
