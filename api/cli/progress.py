"""The progress of jobs on standard error: a bar for people, some lines for a log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn
from rich.text import Text

from api.cli import output
from api.cli.client import Json
from api.cli.overview import Overview, overview

LINES = 10  # lines that a log gets between nothing and everything
Show = Callable[[Collection[Json]], None]


@contextmanager
def show_progress(title: str) -> Iterator[Show]:
    """Give a function to call with the jobs each time something has changed."""
    console = output.stderr()
    if not console.is_terminal:
        yield _Lines(title)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        _Words("counts"),
        _Words("speed"),
        _Words("failures", style="red"),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task(title, total=None, counts="", speed="", failures="")

        def show(jobs: Collection[Json]) -> None:
            now = overview(jobs)
            total = now.total if now.total_is_exact or now.done else None
            title_now = title if now.status == "running" else f"{title} ({now.status.replace('_', ' ')})"
            bar.update(
                task,
                description=output.clean(title_now),
                total=total,
                completed=now.done,
                counts=_counts(now),
                speed=_speed(now),
                failures=_failures(now),
            )

        yield show


class _Words(TextColumn):
    """A column of plain words that each update brings along."""

    def __init__(self, field: str, *, style: str = "none") -> None:
        super().__init__("", markup=False, style=style)
        self._field = field

    def render(self, task: Task) -> Text:
        return Text(str(task.fields[self._field]), style=self.style)


def _counts(now: Overview) -> str:
    return f"{now.done:,}/{now.total:,}{'' if now.total_is_exact else '+'}"


def _speed(now: Overview) -> str:
    if not now.items_per_second:
        return ""
    eta = "" if now.eta_seconds is None else f", {output.duration(now.eta_seconds)} left"
    return f"{output.rate(now.items_per_second, 'item')}{eta}"


def _failures(now: Overview) -> str:
    return f"{now.failed:,} failed" if now.failed else ""


class _Lines:
    """Progress as plain lines: at each change of status, and a few on the way."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last: tuple[str, int] | None = None

    def __call__(self, jobs: Collection[Json]) -> None:
        now = overview(jobs)
        step = LINES * now.done // now.total if now.total_is_exact and now.total else 0
        if (now.status, step) != self._last:
            self._last = (now.status, step)
            parts = [_counts(now), _speed(now), _failures(now)]
            words = ", ".join(part for part in parts if part)
            output.say(f"{output.clean(self._title)}: {now.status.replace('_', ' ')}, {words}")
