"""`backline doctor`: is everything as it should be on this machine, and how is it mended?"""

from __future__ import annotations

import os
from dataclasses import asdict

import typer
from pydantic import ValidationError
from rich.text import Text

from api.cli import output
from api.cli.errors import ExitCode
from api.cli.options import AsJson, Data
from deploy import doctor
from shared.diagnosis import Finding, Verdict, worst
from shared.settings import Settings

STYLES = {Verdict.OK: ("ok", "green"), Verdict.WARNING: ("warning", "yellow"), Verdict.FAILED: ("failed", "red")}

app = typer.Typer(add_completion=False)


@app.command("doctor")
def examine(*, data: Data = None, as_json: AsJson = False) -> int:
    """Examine settings, versions, folders, models, servers, clocks and workers, and say how to mend what is wrong.

    Asks the servers of the stack on the data folder, or those of REDIS_URL and MONGODB_URI. Exit code 1 when
    something has failed; a warning is none.
    """
    found: list[Finding] = []
    try:
        settings = Settings()
    except ValidationError as error:
        found += doctor.wrong_settings(error)
    else:
        if data is not None:
            folder = data.expanduser().absolute()
            settings = Settings(**{**settings.model_dump(exclude={"index_dir"}), "data_dir": folder})
        found += doctor.examine(settings, os.environ)
    verdict = worst(found)
    if as_json:
        output.print_json({"verdict": verdict.value, "findings": [asdict(finding) for finding in found]})
    else:
        _print(found)
    return ExitCode.NOT_ALL_GOOD if verdict is Verdict.FAILED else ExitCode.OK


def _print(found: list[Finding]) -> None:
    console = output.stdout()
    console.print(output.table(("part", "", "", "what"), map(_row, found)))
    troubles = [finding for finding in found if finding.verdict is not Verdict.OK]
    for finding in troubles:
        console.print(Text(output.clean(f"\n{finding.name}: {finding.detail}"), style=STYLES[finding.verdict][1]))
        console.print(Text(output.clean(f"  {finding.advice}")))


def _row(finding: Finding) -> tuple[object, ...]:
    word, style = STYLES[finding.verdict]
    measured = "" if finding.milliseconds is None else f", {finding.milliseconds} ms"
    return finding.name, Text(word, style=style), finding.version or "", f"{finding.detail}{measured}"
