"""The features of tracks as a table for people."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from api.cli import output
from api.cli.client import Json
from api.cli.failures import name_of

KEYS = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
SHOWN = ("tempo", "key", "loudness", "energy", "danceability", "valence")
NUMBERS = ("tempo", "LUFS", "energy", "dance", "valence")


def key_name(key: int | None, mode: int | None) -> str | None:
    """Return a key as musicians call it: ``A minor``."""
    if key is None:
        return None
    return KEYS[key] if mode is None else f"{KEYS[key]} {'major' if mode else 'minor'}"


def track_table(items: Iterable[Json]) -> Table:
    """Return the features of good items, and why the others have none."""
    columns = ("track", "tempo", "key", *NUMBERS[1:], "outcome")
    return output.table(columns, (_row(item) for item in items), right=NUMBERS)


def _row(item: Json) -> list[object]:
    features = item.get("result") or {}
    error = item.get("error")
    numbers = [_number(features.get(name), 2) for name in ("energy", "danceability", "valence")]
    return [
        os.path.basename(name_of(item).rstrip("/")) or name_of(item),
        _number(features.get("tempo"), 1),
        key_name(features.get("key"), features.get("mode")),
        _number(features.get("loudness"), 1),
        *numbers,
        _outcome(item["status"], features) if error is None else f"{error['code']}: {error['message']}",
    ]


def _outcome(status: str, features: Json) -> Text:
    """Return how a good item ended, with what is doubtful about it, and why it lacks what has a column here."""
    text = output.status_text(status)
    reasons = features.get("reasons") or {}
    notes = list(features.get("warnings") or ())
    notes += [f"no {name}: {reasons[name]}" for name in SHOWN if name in reasons]
    for note in notes:
        text.append(f", {output.clean(note).replace('_', ' ')}", style="yellow")
    return text


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"
