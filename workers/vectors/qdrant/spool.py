"""What a build has so far, in a file: what is sent depends on all entries, so nothing is sent before all are there."""

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.vectors.arrays import ArrayWriter, map_array
from workers.vectors.embedding import Floats, unit
from workers.vectors.postings import counted
from workers.vectors.scaling import Scaler
from workers.vectors.schema import Entry, Kind, Schema, Value
from workers.vectors.targets import Values
from workers.vectors.text_store import dumped

_TABLES = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE entries (
        id TEXT PRIMARY KEY, document TEXT NOT NULL, words TEXT NOT NULL, length INTEGER NOT NULL, vectors BLOB NOT NULL
    );
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spooled:
    """An entry that is waiting, and its words."""

    entry: Entry
    # word -> its weight
    weights: dict[str, float]
    # how many words
    length: int


class Spool:
    """Entries by their ids; the vectors of spaces that are not standardised come back at unit length."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        """Begin with nothing, in an empty folder."""
        self._folder = folder
        self._schema = schema
        self._connection = sqlite3.connect(folder / "entries.sqlite", isolation_level=None)
        self._connection.executescript(_TABLES)
        self._connection.execute("BEGIN")

    def __len__(self) -> int:
        count: int = self._connection.execute("SELECT count(*) FROM entries").fetchone()[0]
        return count

    def put(self, entry: Entry) -> None:
        """Keep an entry, in place of the one of this id if there is one; raises `InvalidEntry`."""
        entry.check(self._schema)
        found = counted(entry, self._schema)
        row = (entry.id, dumped(entry.to_json()), dumped(found.weights), found.length, self._packed(entry))
        self._connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)

    def remove(self, one: str) -> None:
        """Forget the entry of this id, if there is one."""
        self._connection.execute("DELETE FROM entries WHERE id = ?", (one,))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def size(self) -> int:
        """Return the bytes of everything that is kept."""
        total = "SELECT sum(length(document) + length(words) + length(vectors)) FROM entries"
        return int(self._connection.execute(total).fetchone()[0] or 0)

    def mean_length(self) -> float:
        """Return how many words an entry has on average; 1 at least."""
        mean = self._connection.execute("SELECT avg(length) FROM entries").fetchone()[0]
        return max(float(mean or 0), 1.0)

    def scalers(self) -> dict[str, Scaler]:
        """Return the scaler of each space that is standardised."""
        return {name: self._scaler(name) for name, space in self._schema.spaces.items() if space.is_standardised}

    def columns(self) -> dict[str, Values]:
        """Return each column of numbers, NaN where there is none."""
        names = [name for name, kind in self._schema.columns.items() if kind is Kind.NUMBER]
        rows = self._connection.execute("SELECT document FROM entries")
        found = [[_number(known.get(name)) for name in names] for known in map(_attributes, rows)]
        return dict(zip(names, np.reshape(found, (-1, len(names))).astype(np.float64).T, strict=True))

    def entries(self) -> Iterator[Spooled]:
        """Yield all entries."""
        rows = self._connection.execute("SELECT id, document, words, length, vectors FROM entries")
        for one, document, words, length, vectors in rows:
            entry = Entry(id=one, vectors=self._unpacked(vectors), **json.loads(document))
            yield Spooled(entry=entry, weights=json.loads(words), length=length)

    def sample(self, space: str, count: int) -> Floats:
        """Return up to so many vectors of a space, by chance, shape (vectors, dimensions)."""
        rows = self._connection.execute("SELECT vectors FROM entries ORDER BY random() LIMIT ?", (count,))
        found = [self._unpacked(vectors).get(space) for (vectors,) in rows]
        dimensions = self._schema.spaces[space].dimensions
        return np.reshape([one for one in found if one is not None], (-1, dimensions)).astype(np.float32)

    def _scaler(self, space: str) -> Scaler:
        path = self._folder / f"{space}.bin"
        writer = ArrayWriter(path, np.float32, (self._schema.spaces[space].dimensions,))
        for (vectors,) in self._connection.execute("SELECT vectors FROM entries"):
            if (vector := self._unpacked(vectors).get(space)) is not None:
                writer.append(vector[None, :])
        every = map_array(path, writer.close())
        return Scaler.fit(every, np.ones(len(every), np.bool_))

    def _packed(self, entry: Entry) -> bytes:
        """Return the vectors of all spaces, one after the other; what is left out is zero."""
        parts = []
        for name, space in self._schema.spaces.items():
            vector = np.asarray(entry.vectors.get(name, np.zeros(space.dimensions)), np.float32)
            parts.append(vector if space.is_standardised else unit(vector))
        return b"".join(part.tobytes() for part in parts)

    def _unpacked(self, packed: bytes) -> dict[str, Floats]:
        every = np.frombuffer(packed, np.float32)
        found, start = {}, 0
        for name, space in self._schema.spaces.items():
            vector = every[start : start + space.dimensions]
            start += space.dimensions
            if vector.any():
                found[name] = vector
        return found


def _attributes(row: tuple[str]) -> Mapping[str, Value]:
    found: Mapping[str, Value] = json.loads(row[0])["attributes"]
    return found


def _number(value: Value | None) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
