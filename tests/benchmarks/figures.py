"""A measured figure, its goal, and how both are shown."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the result."""

    name: str
    value: float
    unit: str  # empty for a ratio
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""  # what the value was made from

    @property
    def goal(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal or None,
            "isMet": self.is_met,
            "note": self.note,
        }


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the middle of some repeats and all of them, for a note."""
    middle = f"{median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} of {', '.join(f'{value:.{digits}f}' for value in sorted(values))}"


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": names[0] if names else platform.machine(),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),  # before the run: what others take
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def table_of(figures: Sequence[Figure]) -> Table:
    """Return the table that shows all."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Figure", overflow="fold")  # on a narrow page a long name takes two lines, and no value is cut
    for heading in ("Value", "Unit", "Goal", ""):
        table.add_column(heading, justify="right" if heading == "Value" else "left", no_wrap=True)
    words = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}
    for one in figures:
        table.add_row(one.name, shown(one.value), one.unit, one.goal, words[one.is_met])
    return table


def shown(value: float) -> str:
    """Return a value with three digits that matter."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
