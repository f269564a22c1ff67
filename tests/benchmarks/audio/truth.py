"""What is known of a recording of the corpus."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Half(StrEnum):
    """Which half of the corpus a piece belongs to: parameters are chosen on one, figures come from the other."""

    TUNED = "tuned"
    HELD_OUT = "held-out"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A recording and what its score says; None is unknown, not absent."""

    name: str
    source: str
    path: Path
    tempo: float | None = None  # beats a minute
    key: int | None = None  # C = 0
    mode: int | None = None  # 1 major, 0 minor
    metre: int | None = None  # beats a bar
    has_drums: bool = False
    cents: float = 0.0  # above A = 440 Hz

    @property
    def half(self) -> Half:
        """Return the half, which depends on the name alone and so never changes."""
        return (Half.TUNED, Half.HELD_OUT)[hashlib.sha256(self.name.encode()).digest()[0] & 1]


def save(path: Path, truths: Iterable[Truth]) -> None:
    """Write one JSON object a line; a recording below the file's folder by its relative name."""
    lines = (json.dumps({**asdict(one), "path": _relative(one.path, path.parent)}) for one in truths)
    path.write_text("\n".join(lines) + "\n")


def load(path: Path) -> list[Truth]:
    """Read what `save` wrote, or somebody's own list of the same form (`--dataset`)."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [
        Truth(**{"source": "dataset", "name": row["path"], **row, "path": path.parent / row["path"]}) for row in rows
    ]


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)
