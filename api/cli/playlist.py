"""`backline playlist`: tracks in an order that flows."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import WrongInput
from api.cli.options import AsJson, Data, Url, User
from shared.playlists import LENGTH_MAX, EnergyShape

Seeds = Annotated[list[str] | None, typer.Argument(metavar="[TRACK]...", help="Tracks that it should sound like.")]
First = Annotated[str | None, typer.Option("--from", metavar="TRACK", help="The track that it begins with.")]
Last = Annotated[str | None, typer.Option("--to", metavar="TRACK", help="The track that it ends with.")]
Length = Annotated[int, typer.Option("--length", "-n", min=1, max=LENGTH_MAX, metavar="N", help="How many tracks.")]
Curve = Annotated[
    str | None,
    typer.Option("--energy", metavar="CURVE", help="rising, falling, arc, steady, or values from 0 to 1: 0.2,0.9,0.4."),
]
Repeats = Annotated[bool, typer.Option("--repeat-artists", help="An artist may come again.")]
OwnOnly = Annotated[bool, typer.Option("--own-only", help="Only tracks of this user's own library.")]

app = typer.Typer(add_completion=False)


@app.command("playlist")
def playlist(
    seeds: Seeds = None,
    *,
    first: First = None,
    last: Last = None,
    length: Length = 20,
    energy: Curve = None,
    repeat_artists: Repeats = False,
    own_only: OwnOnly = False,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Build a playlist of analysed tracks: like some, or from one to another.

    Example: backline playlist --from track-1 --to track-9 --length 12 --energy arc
    """
    if not (seeds or first or last):
        raise WrongInput("Name at least one track.", hint="As a seed, or with --from or --to.")
    wanted: Json = {"length": length, "noRepeatArtist": not repeat_artists, "ownOnly": own_only}
    given = {"seeds": seeds, "from": first, "to": last, "userId": user, "energyCurve": _curve(energy)}
    wanted |= {field: value for field, value in given.items() if value}
    with connect(url, data) as client:
        built = client.build_playlist(wanted)
    if as_json:
        output.print_json(built)
        return
    columns = ("", "track", "title", "artists", "tempo", "energy", "key", "why")
    rows = (_row(place, track) for place, track in enumerate(built["tracks"], 1))
    output.stdout().print(output.table(columns, rows, right=("", "tempo", "energy")))
    for note in built["notes"]:
        output.say(output.clean(note))


def _curve(text: str | None) -> str | list[float] | None:
    if text is None or text in tuple(EnergyShape):
        return text
    try:
        return [float(value) for value in text.split(",")]
    except ValueError:
        hint = f"Write {', '.join(EnergyShape)}, or values such as 0.2,0.9,0.4."
        raise WrongInput(f"--energy {text!r} is no curve.", hint=hint) from None


def _row(place: int, track: Json) -> tuple[object, ...]:
    name = f"{track['trackId']} ({track['userId']})"
    artists = ", ".join(track["artists"])
    numbers = (_rounded(track["tempo"], 1), _rounded(track["energy"], 2), track["camelot"])
    return place, name, track["title"], artists, *numbers, track["why"]


def _rounded(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"
