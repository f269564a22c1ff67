"""`backline database validate | repair | undo | forget`: look a library through, and put it right."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Client, Json
from api.cli.connection import connect
from api.cli.errors import ExitCode, WrongInput
from api.cli.following import follow, goes_on
from api.cli.options import AsJson, Data, Url


class ReportFormat(StrEnum):
    """How a report is written."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


Deep = Annotated[bool, typer.Option("--deep", help="Have the server check its own files, too; it may lock meanwhile.")]
ReportFile = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the report here; - for standard output.")
]
HowWritten = Annotated[
    ReportFormat | None, typer.Option("--format", "-f", help="How to write it; without it, the file's name says.")
]
SUFFIXES = {".json": ReportFormat.JSON, ".md": ReportFormat.MARKDOWN, ".html": ReportFormat.HTML}


def validate_database(
    *,
    deep: Deep = False,
    report_format: HowWritten = None,
    file: ReportFile = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Look at every document, index and setting, and write a report; nothing is changed.

    Example: backline database validate -o report.html
    """
    if as_json and report_format not in (None, ReportFormat.JSON):
        raise WrongInput("--json and --format contradict one another.", hint="Leave one of them out.")
    wanted = ReportFormat.JSON if as_json else report_format or _by_name(file)
    with connect(url, data) as client:
        job = client.submit("database_validate", {"deep": deep})
        with goes_on([job["id"]]):
            ended = follow(client, [job["id"]], title="Validating")[0]
        if ended["summary"] is None:
            message = (ended["error"] or {}).get("message", "it has no summary")
            output.say(f"The validation ended as {ended['status']}: {message}")
            return ExitCode.NOT_ALL_GOOD
        text = client.report(job["id"], wanted.value)
    if file is None or str(file) == "-":
        typer.echo(text, nl=not text.endswith("\n"))
    else:
        file.write_text(text, encoding="utf-8")
        output.say(f"The report is in {file}.")
    return ExitCode.OK if ended["summary"]["overallHealth"] == "healthy" else ExitCode.NOT_ALL_GOOD


def _by_name(file: Path | None) -> ReportFormat:
    return SUFFIXES.get(file.suffix, ReportFormat.MARKDOWN) if file is not None else ReportFormat.MARKDOWN


Validation = Annotated[
    str | None, typer.Option("--validation", metavar="JOB", help="Only what this validation has found.")
]
Checks = Annotated[list[str] | None, typer.Option("--check", metavar="NAME", help="Only what this check finds.")]
Apply = Annotated[bool, typer.Option("--apply", help="Make the changes, once the plan is confirmed.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether to make them.")]
Repair = Annotated[str, typer.Argument(metavar="REPAIR", help="The repair: its plan, or the job that applied it.")]
PlanHash = Annotated[str, typer.Argument(metavar="HASH", help="The hash of its plan.")]


def repair_database(
    *,
    validation: Validation = None,
    check: Checks = None,
    apply: Apply = False,
    yes: Yes = False,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Show what would put the database right; with --apply, make those changes, which can be undone.

    Example: backline database repair --check out_of_range --apply
    """
    if as_json and apply and not yes:
        raise WrongInput("With --json nobody can be asked.", hint="Add --yes, or read the plan first.")
    wanted: Json = {"validation": validation, "checks": check or []}
    with connect(url, data) as client:
        plan = _ended(client, {name: value for name, value in wanted.items() if value}, "Planning")
        summary = plan["summary"]
        if apply and summary is not None and summary["changes"]:
            if not as_json:
                _print_plan(summary)
            if not yes and not typer.confirm("Make these changes?"):
                output.say("Nothing was changed.")
                return ExitCode.NOT_ALL_GOOD
            approved = {"apply": True, "planId": summary["planId"], "planHash": summary["planHash"]}
            plan = _ended(client, approved, "Repairing")
    return _told(plan, as_json=as_json)


def undo_repair(repair: Repair, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> ExitCode:
    """Put every document and index back as it was before a repair, byte for byte.

    Example: backline database undo job_019a
    """
    with connect(url, data) as client:
        ended = _ended(client, {"undo": repair}, "Undoing")
    return _told(ended, as_json=as_json)


def forget_repair(
    repair: Repair, plan_hash: PlanHash, *, url: Url = None, data: Data = None, as_json: AsJson = False
) -> ExitCode:
    """Delete for ever what a repair has kept: its undo log and its quarantine, which may hold secrets.

    Example: backline database forget job_019a 9f86d081884c7d65
    """
    with connect(url, data) as client:
        ended = _ended(client, {"forget": repair, "planHash": plan_hash}, "Forgetting")
    return _told(ended, as_json=as_json)


def _ended(client: Client, request: Json, title: str) -> Json:
    job = client.submit("database_repair", request)
    with goes_on([job["id"]]):
        return follow(client, [job["id"]], title=title)[0]


def _told(job: Json, *, as_json: bool) -> ExitCode:
    summary = job["summary"]
    if as_json:
        output.print_json(job)
    elif summary is None:
        output.say(f"The job ended as {job['status']}: {(job['error'] or {}).get('message', 'it has no summary')}")
    else:
        _print_plan(summary)
    return ExitCode.OK if job["status"] == "succeeded" else ExitCode.NOT_ALL_GOOD


def _print_plan(summary: Json) -> None:
    columns = ("collection", "action", "checks", "changes", "for example")
    rows = [
        (one["collection"], one["action"], ", ".join(one["checks"]), one["count"], ", ".join(one["examples"][:2]))
        for one in summary["groups"]
    ]
    if rows:
        output.stdout().print(output.table(columns, rows, right=("changes",)))
    counts = f"{summary['applied']} made, {summary['undone']} undone, {summary['skipped']} left alone"
    text = f"{summary['planId']} is {summary['status']}: {summary['changes']} changes; {counts}."
    output.stdout().print(output.clean(text), markup=False)
    if summary["planHash"]:
        output.stdout().print(output.clean(f"Its hash is {summary['planHash']}."), markup=False)
    for note in summary["notes"]:
        output.say(note)
