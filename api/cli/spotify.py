"""`backline spotify`: features of tracks by Spotify's ids."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Client
from api.cli.connection import connect
from api.cli.errors import ExitCode, WrongInput
from api.cli.failures import group
from api.cli.following import exit_code_of, follow, goes_on
from api.cli.inputs import read_arguments
from api.cli.items import read_all
from api.cli.options import AsJson, Data, FormatName, Output, Url, User
from api.cli.overview import overview
from api.cli.report import Report
from api.cli.results import writer
from api.cli.spotify_account import connect_account, disconnect_account
from api.cli.spotify_history import sync_history
from api.cli.spotify_playlist import analyze_playlist
from shared.jobs import track_features

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A list of ids: a line each, JSON, or a table; - for standard input.")
]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Take only the first N ids.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be submitted, and submit nothing.")]
Force = Annotated[bool, typer.Option("--force", help="Let what the providers say take the place of what is stored.")]
BatchSize = Annotated[
    int,
    typer.Option(
        min=1, max=track_features.IDS_MAX, metavar="N", help="Ids in a job; providers' limits decide about calls."
    ),
]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Features of tracks by Spotify's ids; users' accounts."
)
app.command("analyze-playlist")(analyze_playlist)
app.command("sync-history")(sync_history)
app.command("connect")(connect_account)
app.command("disconnect")(disconnect_account)


@app.command("batch-features")
def batch_features(
    file: File,
    *,
    to: Output = None,
    format_: FormatName = None,
    limit: Limit = None,
    batch_size: BatchSize = track_features.IDS_MAX,
    dry_run: DryRun = False,
    force: Force = False,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Find the features of many tracks: what is stored, what Spotify, ReccoBeats and local audio know.

    Examples:

      backline spotify batch-features ids.txt --output features.csv

      backline spotify batch-features ids.json --limit 100 --json
    """
    ids = _read_ids(file, limit)
    if dry_run:
        return _preview(ids, batch_size, as_json=as_json)
    write = writer(to, format_, as_json=as_json)
    started = time.monotonic()
    job_ids: list[str] = []
    with connect(url, data) as client:
        with goes_on(job_ids):
            for part in _parts(ids, batch_size):
                job_ids.append(_submit(client, part, user=user, force=force))
            jobs = follow(client, job_ids, title="Finding")
        reasons = group(read_all(client, jobs, statuses=("failed",))) if overview(jobs).failed else ()
        write(client, Report(jobs=jobs, reasons=reasons, seconds=time.monotonic() - started))
    return exit_code_of(jobs)


def _read_ids(file: str, limit: int | None) -> list[str]:
    """Return the ids in a list, each once. Raises `WrongInput`."""
    arguments, lists = (("-",), ()) if file == "-" else ((), (Path(file),))
    entries = read_arguments(arguments, lists, sys.stdin.buffer, must_exist=True)
    if any(entry.track_id is None for entry in entries):
        raise WrongInput(f"{file} holds paths.", hint="`backline extract` analyses files.")
    ids = list(dict.fromkeys(entry.track_id for entry in entries if entry.track_id is not None))[:limit]
    if not ids:
        raise WrongInput(f"{file} holds no ids.")
    return ids


def _parts(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))


def _submit(client: Client, ids: Sequence[str], *, user: str | None, force: bool) -> str:
    request = {"trackIds": list(ids), **({"userId": user} if user else {}), **({"force": True} if force else {})}
    return str(client.submit(track_features.KIND.name, request)["id"])


def _preview(ids: Sequence[str], batch_size: int, *, as_json: bool) -> int:
    """Say what would be submitted."""
    jobs = len(list(_parts(ids, batch_size)))
    if as_json:
        output.print_json({"trackIds": list(ids), "jobs": jobs})
    else:
        output.stdout().print(f"{output.plural(len(ids), 'track')} in {output.plural(jobs, 'job')}; nothing submitted.")
    return ExitCode.OK
