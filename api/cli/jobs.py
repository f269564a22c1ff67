"""`backline jobs`: what there is, how far it is, and what came out of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Client, Json
from api.cli.connection import connect
from api.cli.errors import ExitCode, Refused, to_line
from api.cli.export import MUSIC, STANDARD_OUTPUT, Format, choose_target, whole_file, write_csv, write_list
from api.cli.failures import name_of
from api.cli.following import exit_code_of, follow, goes_on
from api.cli.items import read_items
from api.cli.options import AsJson, Data, FormatName, Output, Url, User
from api.cli.tracks import track_table
from api.cli.watching import JobStatus
from shared.items import ItemStatus

SHOWN = 100  # items that people get to see unless they ask for more

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
JobIds = Annotated[list[str], typer.Argument(metavar="ID...", help="The jobs' ids.")]
Statuses = Annotated[list[JobStatus] | None, typer.Option("--status", help="Only jobs that stand so; may be repeated.")]
ItemStatuses = Annotated[
    list[ItemStatus] | None, typer.Option("--status", help="Only items that ended so; may be repeated.")
]
Kind = Annotated[str | None, typer.Option("--kind", metavar="KIND", help="Only jobs of this kind.")]
JobLimit = Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")]
ItemLimit = Annotated[int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many.")]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="List, follow, cancel and retry jobs, and read their results."
)


@app.command("list")
def list_jobs(
    *,
    status: Statuses = None,
    kind: Kind = None,
    user: User = None,
    limit: JobLimit = 20,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    Example: backline jobs list --status running --status queued
    """
    filters = {"status": [one.value for one in status or ()], "kind": kind, "userId": user}
    with connect(url, data) as client:
        found = list(client.jobs(limit=limit, filters=filters))
    if as_json:
        output.print_json({"jobs": found})
    elif not found:
        output.say("There is no such job.")
    else:
        columns = ("id", "kind", "user", "status", "done", "failed", "created", "took")
        output.stdout().print(output.table(columns, map(_row, found), right=("done", "failed")))


def _row(job: Json) -> Sequence[object]:
    progress = job["progress"]
    total = f"{progress['total']:,}{'' if progress['totalIsExact'] else '+'}"
    return (
        job["id"],
        job["kind"],
        job["userId"],
        output.status_text(job["status"]),
        f"{progress['done']:,}/{total}",
        f"{progress['failed']:,}" if progress["failed"] else "",
        output.relative(job["createdAt"]),
        _took(job),
    )


def _took(job: Json) -> str | None:
    started, finished = output.moment(job["startedAt"]), output.moment(job["finishedAt"])
    return None if started is None or finished is None else output.duration((finished - started).total_seconds())


@app.command("show")
def show_job(job_id: JobId, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Show one job."""
    with connect(url, data) as client:
        job = client.job(job_id)
    if as_json:
        output.print_json(job)
    else:
        _print_job(job)


def _print_job(job: Json) -> None:
    progress = job["progress"]
    counts = [(name, progress[name]) for name in ("succeeded", "cached", "failed", "cancelled") if progress[name]]
    error = job["error"]
    rows: list[tuple[str, object]] = [
        ("job", job["id"]),
        ("kind", job["kind"]),
        ("user", job["userId"]),
        ("status", output.status_text(job["status"])),
        ("items", f"{progress['done']:,} of {progress['total']:,}{'' if progress['totalIsExact'] else ' or more'}"),
        ("", ", ".join(f"{count:,} {name}" for name, count in counts) or None),
        ("speed", output.rate(progress["itemsPerSecond"], "item") if progress["itemsPerSecond"] else None),
        ("left", output.duration(progress["etaSeconds"]) if progress["etaSeconds"] is not None else None),
        ("created", output.relative(job["createdAt"])),
        ("took", _took(job)),
        ("resumes", output.relative(job["resumesAt"])),
        ("schedule", job["schedule"]),
        ("retries", job["epoch"] or None),
        ("then", job["followedBy"]),
        ("error", f"{error['code']}: {error['message']}" if error else None),
        ("summary", output.outline(job["summary"]) if job["summary"] else None),
    ]
    output.stdout().print(output.facts(rows))
    if progress["failed"]:
        output.say(f"Why items failed: `backline jobs items {job['id']} --status failed`")


@app.command("watch")
def watch_jobs(job_ids: JobIds, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> int:
    """Follow jobs to their end; exit code 1 unless every item is good.

    The jobs go on when this command is stopped with Ctrl-C.
    """
    with connect(url, data) as client:
        return watch_to_end(client, job_ids, as_json=as_json)


def watch_to_end(client: Client, job_ids: Sequence[str], *, as_json: bool) -> int:
    """Follow jobs to their end, print them, and return the exit code."""
    unique = list(dict.fromkeys(job_ids))
    with goes_on(unique):
        ended = follow(client, unique, title=unique[0] if len(unique) == 1 else output.plural(len(unique), "job"))
    if as_json:
        output.print_json(ended[0] if len(ended) == 1 else {"jobs": ended})
    else:
        for job in ended:
            _print_job(job)
    return exit_code_of(ended)


@app.command("items")
def list_items(
    job_id: JobId,
    *,
    status: ItemStatuses = None,
    limit: ItemLimit = None,
    to: Output = None,
    format_: FormatName = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Read what became of a job's items, also while it runs.

    Examples:

      backline jobs items ID --status failed

      backline jobs items ID --output features.csv
    """
    chosen = choose_target(to, format_, as_json=as_json)
    with connect(url, data) as client:
        job = client.job(job_id)
        read = read_items(client, job_id, statuses=[one.value for one in status or ()])
        if chosen is None:
            _print_items(job, read, limit or SHOWN)
            return
        target, form = chosen
        with whole_file(target) as file:
            wanted = islice(read, limit)
            if form is Format.CSV:
                write_csv(file, wanted, kind=job["kind"])
            else:
                file.write('{"job": ' + json.dumps(job, ensure_ascii=False) + ', "items": ')
                write_list(file, wanted)
                file.write("}\n")
    if target != STANDARD_OUTPUT and as_json:
        output.print_json({"output": str(target.absolute()), "format": form})
    elif target != STANDARD_OUTPUT:
        output.say(f"Written to {output.clean(target)}")


def _print_items(job: Json, items: Iterator[Json], limit: int) -> None:
    shown = list(islice(items, limit))
    is_music = job["kind"] == MUSIC
    output.stdout().print(track_table(shown) if is_music else _item_table(shown))
    if not shown:
        output.say("There is no such item yet." if job["finishedAt"] is None else "There is no such item.")
    elif next(items, None) is not None:
        output.say(f"The first {output.plural(limit, 'item')}; --limit shows more, --output writes all.")


def _item_table(items: Sequence[Json]) -> object:
    rows = ((one["index"], name_of(one), output.status_text(one["status"]), _value(one)) for one in items)
    return output.table(("#", "item", "outcome", "result"), rows, right=("#",))


def _value(item: Json) -> str | None:
    if item["error"]:
        return f"{item['error']['code']}: {item['error']['message']}"
    return json.dumps(item["result"], ensure_ascii=False) if item["result"] else None


@app.command("cancel")
def cancel_jobs(job_ids: JobIds, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> int:
    """Stop jobs: no new item starts within seconds, and what is done stands."""
    with connect(url, data) as client:
        return _change(job_ids, client.cancel, "Cancelling", as_json=as_json)


def _change(job_ids: Sequence[str], change: Callable[[str], Json], word: str, *, as_json: bool) -> int:
    """Change each job; one that refuses does not keep the others from it."""
    changed: list[Json] = []
    refused = 0
    for job_id in job_ids:
        try:
            changed.append(change(job_id))
        except Refused as refusal:
            refused += 1
            sys.stderr.write(f"backline: {to_line(refusal)}\n")
        else:
            if not as_json:
                output.stdout().print(f"{word} {output.clean(job_id)}", markup=False)
    if as_json:
        output.print_json({"jobs": changed})
    return ExitCode.REFUSED if refused else ExitCode.OK


@app.command("retry")
def retry_job(
    job_id: JobId,
    *,
    watch: Annotated[bool, typer.Option(help="Wait for the end.")] = False,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Take up again what failed or was not reached; what is good stands."""
    with connect(url, data) as client:
        job = client.retry(job_id)
        if watch:
            return watch_to_end(client, [job_id], as_json=as_json)
    if as_json:
        output.print_json(job)
    else:
        output.stdout().print(f"Queued again: {output.clean(job_id)}", markup=False)
    return ExitCode.OK
