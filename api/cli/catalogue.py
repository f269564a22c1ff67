"""`backline catalogue`: releases of catalogues in."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import ExitCode, WrongInput
from api.cli.failures import group
from api.cli.following import exit_code_of, follow, goes_on
from api.cli.items import read_all
from api.cli.options import AsJson, Data, Url, User
from shared.paths import to_text

KIND = "catalogue_import"
COUNTS = {
    "entries": "entries",
    "new": "new",
    "changed": "changed",
    "same": "unchanged",
    "removed": "removed",
    "revived": "revived",
    "carriedOver": "kept their id",
    "duplicates": "duplicates",
    "failed": "failed",
}
"""What a summary counts, and how people read it; a line is left out where it is nought, but for the first."""
REASONS_MAX = 5


class Form(StrEnum):
    """What the entries of a source are."""

    AUTO = "auto"
    ANIME = "anime"
    TRACKS = "tracks"


File = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="JSON, JSON Lines or CSV, also .gz or .zst, below the roots of the workers."),
]
Release = Annotated[bool, typer.Option("--release", help="Import the public release that is configured.")]
HowRead = Annotated[Form, typer.Option("--form", help="What the entries are; auto: the first one shows it.")]
Slug = Annotated[str | None, typer.Option("--catalogue", metavar="NAME", help="The catalogue that it is a release of.")]
Force = Annotated[
    bool, typer.Option("--force", help="Also what has not changed; also where more than half would be removed.")
]
Index = Annotated[bool, typer.Option(help="Bring the search index up to date afterwards.")]
Watch = Annotated[bool, typer.Option(help="Wait for the end, or only submit.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Import catalogues of anime and of tracks.")


@app.callback()
def catalogue() -> None:
    """Import catalogues of anime and of tracks."""


@app.command("import")
def import_catalogue(
    file: File = None,
    *,
    release: Release = False,
    form: HowRead = Form.AUTO,
    name: Slug = None,
    force: Force = False,
    index: Index = True,
    watch: Watch = True,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Import a release of a catalogue; one that is known already does nothing.

    Examples:

      backline catalogue import --release

      backline catalogue import tracks.csv --form tracks
    """
    if (file is None) != release:
        raise WrongInput("Give either a FILE or --release.")
    request: Json = {"form": form.value, "force": force, "index": index}
    request |= {"release": True} if file is None else {"path": to_text(os.fsencode(file.expanduser().absolute()))}
    request |= {key: value for key, value in (("catalogue", name), ("userId", user)) if value is not None}
    with connect(url, data) as client:
        job = client.submit(KIND, request)
        if not watch:
            output.print_json(job) if as_json else sys.stdout.write(f"{job['id']}\n")
            return ExitCode.OK
        with goes_on([job["id"]]):
            jobs = follow(client, [job["id"]], title="Importing")
        reasons = group(read_all(client, jobs, statuses=("failed",))) if jobs[0]["progress"]["failed"] else ()
    if as_json:
        output.print_json(jobs[0])
    else:
        _print_summary(jobs[0])
        for reason in reasons[:REASONS_MAX]:
            output.say(f"{reason.count:,} {reason.code}, such as: {output.clean(reason.examples[0]['message'])}")
    return exit_code_of(jobs)


def _print_summary(job: Json) -> None:
    """Print how an import ended, and what it did."""
    summary = job["summary"] or {}
    rows: list[tuple[str, object]] = [
        ("status", output.status_text(job["status"])),
        ("catalogue", summary.get("catalogue")),
        ("source", summary.get("source")),
        ("release", summary.get("releaseDate")),
    ]
    if summary.get("unchanged"):
        rows.append(("", "It was imported before: nothing to do."))
    else:
        rows += [(said, f"{summary[key]:,}") for key, said in COUNTS.items() if summary.get(key)]
    if summary.get("keptBack"):
        rows.append(("kept", f"{summary['keptBack']:,} that the release lacks: too many to remove without --force"))
    if summary.get("warnings"):
        rows.append(("put right", ", ".join(f"{code} {count:,}" for code, count in summary["warnings"].items())))
    if job["error"] is not None:
        rows.append(("error", job["error"]["message"]))
    if job.get("followedBy"):
        rows.append(("followed by", job["followedBy"]))
    output.stdout().print(output.facts(rows))
