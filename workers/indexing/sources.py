"""What an index is made of, read from where it is stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from workers.vectors.schema import Entry, Schema


@dataclass(frozen=True, kw_only=True)
class Found:
    """An entry as it is stored, without the vector of its text."""

    entry: Entry
    text: str  # what is embedded


class Source(Protocol):
    """The entries of one index, by the ids that they have in it."""

    def schema(self, text_dimensions: int) -> Schema:
        """Return the form of the entries."""

    def ids(self, since: datetime | None = None) -> Iterator[str]:
        """Yield the ids of all that is there, or of all that has changed since, gone or not."""

    def find(self, ids: Sequence[str]) -> dict[str, Found]:
        """Return what is there of these ids; one that is left out is gone."""
