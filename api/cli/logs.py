"""`backline logs`: what a stack on this machine has written about a job, a request, or at all."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.cli.connection import with_data
from api.cli.errors import ExitCode, WrongInput
from api.cli.options import Data
from deploy.data_folder import DataFolder
from deploy.log import FILES_KEPT
from shared.logs import INDENT

Job = Annotated[str | None, typer.Option("--job", metavar="ID", help="Only lines about this job.")]
Request = Annotated[str | None, typer.Option("--request", metavar="ID", help="Only lines about this request.")]
Part = Annotated[
    list[str] | None, typer.Option("--part", metavar="NAME", help="Only lines of this part; may be repeated.")
]
Tail = Annotated[int | None, typer.Option("--last", min=1, metavar="N", help="Only the last N of the lines.")]

LINE = re.compile(r"^\S+ (?P<part>\S+) *\| (?P<text>.*)$")

app = typer.Typer(add_completion=False)


@app.command("logs")
def show_logs(
    *, job: Job = None, request: Request = None, part: Part = None, last: Tail = None, data: Data = None
) -> int:
    """Show the log of the stack on this machine's data folder, whether it runs or not; exit code 1 when it has no such
    line.

    Example: backline logs --job job_019a
    """
    folder = DataFolder(with_data(data).data_dir)
    files = log_files(folder.log_file)
    if not files:
        raise WrongInput(f"There is no log in {folder.path}.", hint="Name the stack's data folder with --data.")
    found = list(chosen(_lines(files), names=[name for name in (job, request) if name], parts=part or ()))
    for line in found if last is None else found[-last:]:
        sys.stdout.write(f"{line}\n")
    return ExitCode.OK if found else ExitCode.NOT_ALL_GOOD


def log_files(newest: Path) -> list[Path]:
    """Return the files of a log that rotates, oldest first."""
    numbered = [newest.with_name(f"{newest.name}.{number}") for number in range(FILES_KEPT, 0, -1)]
    return [path for path in (*numbered, newest) if path.is_file()]


def _lines(files: Iterable[Path]) -> Iterator[str]:
    for path in files:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                yield line.rstrip("\n")


def chosen(lines: Iterable[str], *, names: Iterable[str] = (), parts: Iterable[str] = ()) -> Iterator[str]:
    """Yield the lines of these parts that name all of these ids, each with the traceback below it."""
    wanted = [_naming(name) for name in names]
    parts = frozenset(parts)
    shown: dict[str, bool] = {}  # by part: the lines of several are mixed
    for line in lines:
        found = LINE.match(line)
        if found is None or (parts and found["part"] not in parts):
            continue
        if not found["text"].startswith(INDENT):
            shown[found["part"]] = all(names_it(found["text"]) for names_it in wanted)
        if shown.get(found["part"], False):
            yield line


def _naming(name: str) -> Callable[[str], object]:
    """Return what finds an id as a whole, not as the beginning of a longer one; those of chunks begin with a job's."""
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])").search
