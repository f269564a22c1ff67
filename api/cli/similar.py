"""`backline similar`: what is like an item of the catalogue, or sounds like a track."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.connection import connect
from api.cli.hits import print_hits
from api.cli.options import AsJson, Data, Url, User
from shared.search import LIMIT_MAX

Id = Annotated[str, typer.Argument(metavar="ID", help="The item's id, or with --tracks the track's.")]
OfTracks = Annotated[bool, typer.Option("--tracks", help="It is a track: find what sounds like it.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=LIMIT_MAX, metavar="N", help="At most so many.")]

app = typer.Typer(add_completion=False)


@app.command("similar")
def similar(
    one: Id,
    *,
    tracks: OfTracks = False,
    limit: Limit = 20,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Find what is like an item of the catalogue, or what sounds like a track.

    Example: backline similar mal-1
    """
    with connect(url, data) as client:
        if tracks:
            answer = client.similar_tracks(one, user=user, limit=limit)
        else:
            answer = client.similar_items(one, limit=limit)
    print_hits(answer, as_json=as_json)
