"""`backline extract`: audio files in, their features out."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.batches import Manner
from api.cli.client import Client, is_local
from api.cli.connection import Address, find_address, find_stack
from api.cli.errors import ExitCode, NotReachable, WrongInput
from api.cli.failures import group
from api.cli.following import cancelled_on_the_way_out, exit_code_of, follow, goes_on
from api.cli.inputs import Entry, expand, linked_folders, read_arguments
from api.cli.items import read_all
from api.cli.options import AsJson, Data, FormatName, Output, Url, User
from api.cli.overview import overview
from api.cli.preview import print_preview
from api.cli.report import Report
from api.cli.results import Write, writer
from api.cli.submission import Submission
from api.cli.temporary import start_temporary
from shared.jobs.audio_features import Effort
from shared.paths import to_text

Guard = AbstractContextManager[None]
"""What Ctrl-C means while the jobs are at work."""

Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH...",
        help="Audio files; folders, which are searched through; lists of paths or ids that end in .txt, .csv, .json,"
        " .jsonl or .m3u; - for a list on standard input.",
    ),
]
Lists = Annotated[
    list[Path] | None,
    typer.Option("--list", metavar="FILE", help="A list of paths or ids, whatever its name; may be repeated."),
]
Watch = Annotated[bool, typer.Option(help="Wait for the end, or only submit.")]
Limit = Annotated[int | None, typer.Option(min=1, metavar="N", help="Take only the first N files and ids.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be submitted, and submit nothing.")]
HowThorough = Annotated[
    Effort | None,
    typer.Option(
        "--effort",
        help="quick: the central minute; standard: the whole track; full, the default: also voices and mood.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Analyse again what is known already.")]
Index = Annotated[
    bool, typer.Option("--index", help="Then bring the search index of the tracks up to date: `backline similar`.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Taken for the sake of older scripts: the engine sizes its work.")
]


app = typer.Typer(add_completion=False)


@app.command("extract")
def extract(
    paths: Paths = None,
    *,
    lists: Lists = None,
    watch: Watch = True,
    to: Output = None,
    format_: FormatName = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    user: User = None,
    effort: HowThorough = None,
    force: Force = False,
    index: Index = False,
    batch_size: BatchSize = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Extract tempo, key, loudness and more from audio files.

    Uses the running Backline. Where there is none, starts one for the
    call, on the same data folder: what is known is not analysed again.
    With --json, the features and the figures go to standard output.

    Examples:

      backline extract ~/Music

      backline extract album/ song.mp3 --output features.csv

      find /music -name '*.flac' | backline extract - --json
    """
    address = find_address(url, data, must_last=True)
    is_here = address is None or is_local(address.url)
    if not (paths or lists):
        raise WrongInput("No PATH is given.")
    entries: Sequence[Entry] = read_arguments(paths or (), lists or (), sys.stdin.buffer, must_exist=is_here)
    if is_here:
        _mention_links(entries)
    if limit is not None or dry_run:
        entries = list(islice(expand(entries), limit))
    if dry_run:
        stack = find_stack(url, data)
        is_shut_out = stack is not None and not stack.is_temporary
        print_preview(entries, roots=stack.music_roots if stack and is_shut_out else None, as_json=as_json)
        return ExitCode.OK if entries else ExitCode.NOT_ALL_GOOD
    submission = Submission(entries, Manner(user=user, effort=effort, force=force, index=index))
    if not watch:
        return _only_submit(submission, address, to, as_json=as_json)
    write = writer(to, format_, as_json=as_json)
    if address is None:
        with start_temporary(data, entries) as (client, is_own):
            ids = submission.job_ids
            guard = cancelled_on_the_way_out(client, ids) if is_own else goes_on(ids)
            return _see_through(client, submission, guard, write)
    with Client(*address) as client:
        return _see_through(client, submission, goes_on(submission.job_ids), write)


def _mention_links(entries: Sequence[Entry]) -> None:
    """Say which folders are passed over, since a link could lead round in a circle."""
    links = linked_folders(entries)
    if links:
        count = f"{output.plural(len(links), 'folder')} behind a symbolic link"
        output.say(f"Not searched: {count}, such as {output.clean(to_text(links[0]))}. Name it to have it searched.")


def _only_submit(submission: Submission, address: Address | None, to: Path | None, *, as_json: bool) -> int:
    """Leave the jobs to the running stack."""
    if to is not None:
        raise WrongInput("--no-watch leaves before there is an --output.", hint="Leave one of them out.")
    if address is None:
        raise NotReachable("Without --watch, a running Backline is needed.", hint="Start one with `backline up`.")
    with Client(*address) as client, goes_on(submission.job_ids):
        jobs = submission.send(client)
    if as_json:
        output.print_json({"jobs": jobs})
        return ExitCode.OK
    for job_id in submission.job_ids:
        sys.stdout.write(f"{job_id}\n")
    output.say(f"Watch: `backline jobs watch {' '.join(submission.job_ids)}`")
    return ExitCode.OK


def _see_through(client: Client, submission: Submission, guard: Guard, write: Write) -> int:
    """Submit, watch to the end, and write what there is."""
    started = time.monotonic()
    with guard:
        submission.send(client)
        jobs = follow(client, submission.job_ids, title="Extracting")
        if followers := [job["followedBy"] for job in jobs if job["followedBy"]]:
            follow(client, followers, title="Indexing")
    seconds = time.monotonic() - started
    reasons = group(read_all(client, jobs, statuses=("failed",))) if overview(jobs).failed else ()
    write(client, Report(jobs=jobs, reasons=reasons, seconds=seconds))
    return exit_code_of(jobs)
