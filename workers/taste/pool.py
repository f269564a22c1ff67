"""The tracks that a playlist is chosen from, as arrays."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workers.taste.transitions import Numbers
from workers.vectors.embedding import Floats
from workers.vectors.engine import Index
from workers.vectors.schema import Entry, labels_of
from workers.vectors.words import fold

SPACE = "audio"


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Entries of the tracks' collection, in the order of their ids."""

    entries: Sequence[Entry]
    # of unit length, shape (tracks, dimensions)
    vectors: Floats

    @classmethod
    def of(cls, snapshot: Index, ids: Sequence[str]) -> "Pool":
        """Read entries that have a vector."""
        ordered = sorted(set(ids))
        return cls(entries=list(snapshot.find_entries(ordered).values()), vectors=snapshot.vectors(ordered, SPACE))

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Id -> place."""
        return {entry.id: place for place, entry in enumerate(self.entries)}

    def numbers(self, column: str) -> Numbers:
        """Return a column, shape (tracks,), NaN where there is no number."""
        values = (number_of(entry, column) for entry in self.entries)
        return np.asarray([np.nan if value is None else value for value in values], np.float64)

    @cached_property
    def same_artist(self) -> Sequence[NDArray[np.int64]]:
        """For each track the places of those that share an artist with it, itself included."""
        return _sharing([[fold(one) for one in artists_of(entry)] for entry in self.entries])

    @cached_property
    def same_work(self) -> Sequence[NDArray[np.int64]]:
        """For each track the places where it stands again: under another user's id, or with equal title and artists."""
        return _sharing([_names(entry) for entry in self.entries])


def number_of(entry: Entry, column: str) -> float | None:
    """Return a number of an entry, None where there is none."""
    value = entry.attributes.get(column)
    return float(value) if isinstance(value, int | float) else None


def labels(entry: Entry, column: str) -> Sequence[str]:
    """Return the labels of an entry in a column."""
    value = entry.attributes.get(column)
    return () if value is None or isinstance(value, int | float) else labels_of(value)


def artists_of(entry: Entry) -> Sequence[str]:
    """Return the artists of a track."""
    return labels(entry, "artists")


def title_of(entry: Entry) -> str | None:
    """Return the title of an entry, None where it has none."""
    return next(iter(entry.texts.get("title", ())), None)


def track_of(entry: Entry) -> str:
    """Return the track's id, as it was given: labels are found in any spelling, ids are not."""
    return next(iter(labels(entry, "track")), entry.id)


def _names(entry: Entry) -> list[str]:
    title, artists = title_of(entry), sorted(map(fold, artists_of(entry)))
    by_title = [f"title\n{fold(title)}\n{artists[0]}"] if title and artists else []
    return [f"track\n{track_of(entry)}", *by_title]


def _sharing(names: Sequence[Sequence[str]]) -> list[NDArray[np.int64]]:
    """Return for each place all places that have one of its names, and itself."""
    places = defaultdict(list)
    for place, own in enumerate(names):
        for name in own:
            places[name].append(place)
    return [
        np.asarray(sorted({place, *(other for name in own for other in places[name])}), np.int64)
        for place, own in enumerate(names)
    ]
