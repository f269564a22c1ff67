"""`backline database`: look a database through, and put it right."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
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

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look a database through, and put it right.")


@app.command("validate")
def validate(
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
