"""`backline spotify analyze-playlist`: what a playlist sounds like."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.download import fetch
from api.cli.errors import WrongInput
from api.cli.following import exit_code_of, follow, goes_on
from api.cli.options import AsJson, Data, Url, User

KIND = "playlist_analysis"
FIGURES = ("mean", "median", "std", "min", "max")

Playlist = Annotated[str, typer.Argument(metavar="PLAYLIST", help="The id, URI or address of a playlist at Spotify.")]
Visualizations = Annotated[bool, typer.Option("--visualizations", help="Draw a radar and distributions, as files.")]
NoRecommendations = Annotated[bool, typer.Option("--no-recommendations", help="Don't say what could be made of it.")]
Target = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where the pictures go; else here.")]


def analyze_playlist(
    playlist: Playlist,
    *,
    visualizations: Visualizations = False,
    no_recommendations: NoRecommendations = False,
    to: Target = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Say what a playlist sounds like, in figures and words, and draw it.

    A private one needs its owner's account: `backline spotify connect`.

    Example: backline spotify analyze-playlist 37i9dQZF1DXcBWIGoYBM5M --visualizations -o pictures/
    """
    folder = to or Path()
    if visualizations and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise WrongInput(f"{folder.absolute()} is no folder that can be written.", hint="Choose another for --output.")
    request: Json = {"playlist": playlist, "visualizations": visualizations, "recommendations": not no_recommendations}
    with connect(url, data) as client:
        job_id = client.submit(KIND, {**request, **({"userId": user} if user else {})})["id"]
        with goes_on([job_id]):
            (job,) = follow(client, [job_id], title="Analysing")
        files = (job["summary"] or {}).get("files", [])
        targets = [folder / str(file["filename"]) for file in files]
        for file, target in zip(files, targets, strict=True):
            fetch(client, file, target)
    if as_json:
        output.print_json({"job": job, "files": [str(target.absolute()) for target in targets]})
    else:
        _tell(job, targets)
    return exit_code_of([job])


def _tell(job: Json, targets: list[Path]) -> None:
    if job["error"]:
        output.say(output.clean(f"{job['error']['message']} {job['error'].get('advice') or ''}".strip()))
    found = (job["summary"] or {}).get("analysis")
    if found is None:
        return
    basic = found["basic_stats"]
    name = output.clean(str(job["summary"]["name"] or job["summary"]["playlistId"]))
    out = output.stdout()
    out.print(f"{name}: {_basic(basic)}", markup=False, highlight=False)
    rows = [
        (feature, *(f"{values[one]:.2f}" for one in FIGURES)) for feature, values in found["audio_analysis"].items()
    ]
    if rows:
        out.print(output.table(("feature", *FIGURES), rows, right=FIGURES))
    for title in ("key", "mode", "time_signature"):
        counts = found[f"{title}_distribution"]
        if counts:
            parts = ", ".join(f"{value} {count}" for value, count in counts.items())
            out.print(f"{title.replace('_', ' ')}: {parts}", markup=False, highlight=False)
    for text in (*found["insights"], *found["recommendations"]):
        out.print(f"- {output.clean(text)}", markup=False, highlight=False)
    for target in targets:
        out.print(str(target), markup=False, highlight=False)


def _basic(basic: Json) -> str:
    parts = [output.plural(basic["total_tracks"], "track"), f"{basic['tracks_with_features']} with features"]
    if basic["total_duration_ms"]:
        parts.append(f"{basic['total_duration_ms'] / 60_000:.0f} min")
    if basic["unique_artists"]:
        parts.append(output.plural(basic["unique_artists"], "artist"))
    if basic["avg_popularity"] is not None:
        parts.append(f"popularity {basic['avg_popularity']:g}")
    return ", ".join(parts)
