"""What people read: tables, colours, short times; and the JSON that programs read instead."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 400  # columns of a table that no terminal shows: nothing is cut off
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
STATUS_STYLES = {
    "queued": "cyan",
    "running": "blue",
    "waiting_quota": "yellow",
    "waiting_input": "yellow",
    "finalising": "blue",
    "succeeded": "green",
    "cached": "green",
    "partial": "yellow",
    "failed": "red",
    "cancelled": "magenta",
}


def stdout() -> Console:
    """Return the console of results."""
    return _console(stderr=False)


def stderr() -> Console:
    """Return the console of progress and of what went wrong."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, soft_wrap=True, width=None if stream.isatty() else PIPE_WIDTH)


def say(text: str | Text) -> None:
    """Tell a person something, beside the results."""
    stderr().print(text if isinstance(text, Text) else Text(text))


def print_json(value: Any) -> None:
    """Write one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def clean(value: object) -> str:
    """Return a text without the control characters that could play tricks on a terminal."""
    return CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value))


def status_text(status: str) -> Text:
    """Return a status in its colour."""
    return Text(clean(status).replace("_", " "), style=STATUS_STYLES.get(status, ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> Table:
    """Return a plain table; the columns named in `right` hold numbers."""
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    return shown


@dataclass(frozen=True)
class Facts:
    """Names and values, a line each; long values go on below their beginning, and nothing is padded."""

    rows: Sequence[tuple[str, Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max((len(name) for name, _ in self.rows), default=0)
        for name, value in self.rows:
            lines = value.wrap(console, max(options.max_width - width - 2, 1), overflow="fold")
            for place, line in enumerate(lines):
                line.rstrip()
                yield Text.assemble(((name if place == 0 else "").ljust(width), "bold"), "  ", line)


def facts(rows: Iterable[tuple[str, object]]) -> Facts:
    """Return names and values to print, without those that are None."""
    return Facts([(name, _cell(value)) for name, value in rows if value is not None])


def outline(values: Mapping[str, Any]) -> Text:
    """Return the fields of a document as people read them: a line each, and what lies in a field behind its name."""
    return Text("\n").join(Text(f"{_words(name)}  {_brief(value)}") for name, value in values.items())


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(name)} {_brief(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_brief, value))
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else clean(value)


def _words(name: str) -> str:
    """Return a name in camelCase or snake_case as words."""
    return clean(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").lower())


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    return Text("-", style="dim") if value is None or value == "" else Text(clean(value))


def plural(count: int, noun: str) -> str:
    """Return a count and its noun: ``1 track``, ``2,000 tracks``."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def duration(seconds: float | None) -> str:
    """Return a length of time in at most two units."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    for size, name, below, below_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {name} {rest} {below_name}" if rest else f"{whole // size} {name}"
    return f"{whole} s"


def moment(text: str | None) -> datetime | None:
    """Read an ISO 8601 time of the API."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def relative(text: str | None, *, now: datetime | None = None) -> str | None:
    """Return a time of the API as people say it: ``3 min ago``, ``in 2 h``."""
    at = moment(text)
    if at is None:
        return None
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    about = _one_unit(abs(seconds))
    return f"{about} ago" if seconds > 0 else f"in {about}"


def _one_unit(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def rate(per_second: float | None, noun: str) -> str:
    """Return a speed, in the unit in which it is at least one."""
    if not per_second:
        return f"- {noun}s/s"
    if per_second >= 1:
        return f"{per_second:.1f} {noun}s/s"
    return f"{per_second * 60:.1f} {noun}s/min"
