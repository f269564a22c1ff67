"""What is counted of the words of a collection: which rows have each word, and how much it says of them.

How much is BM25's (Robertson and Zaragoza, 2009, with their simple extension to weighted fields): the frequency of a
word, each occurrence counted by its field's weight, beside the length of the entry. It is worked out when a snapshot is
built, so that a search only adds up.
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.vectors.arrays import ArrayWriter, Form, map_array, write_array
from workers.vectors.embedding import Floats
from workers.vectors.inverted import invert, span
from workers.vectors.nearest import Mask, Rows
from workers.vectors.schema import Entry, Schema
from workers.vectors.text_store import Forms, TextWriter
from workers.vectors.words import words

# The usual constants: how soon more of the same word says no more, and how much a long entry counts against it.
_SATURATION, _LENGTH = 1.2, 0.75

# What a word adds to a score at most, beside how rare it is: however often it stands in an entry.
_GAIN_MAX = _SATURATION + 1

# Forward: of each row, its different words one after the other.
_TYPES = {
    "codes": np.int32,  # number of the word
    "weights": np.float32,  # occurrences by the weights of their fields
    "named": np.bool_,  # whether one is in a field that corrects typos
    "counts": np.int32,  # by row: how many different words
    "lengths": np.int32,  # by row: how many words
}


def _file(part: str) -> str:
    return f"words.{part}.bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """The words of an entry."""

    # word -> its occurrences, each by the weight of its field
    weights: Mapping[str, float]
    # those in a field that corrects typos
    named: Set[str]
    # how many words there are
    length: int


def counted(entry: Entry, schema: Schema) -> Counted:
    """Return the words of an entry's texts."""
    weights: dict[str, float] = {}
    named: set[str] = set()
    length = 0
    for name, field in schema.fields.items():
        for word in (word for text in entry.texts.get(name, ()) for word in words(text)):
            weights[word] = weights.get(word, 0.0) + field.weight
            length += 1
            if field.corrects_typos:
                named.add(word)
    return Counted(weights=weights, named=named, length=length)


def gains(weights: NDArray[Any], lengths: NDArray[Any] | float, mean: float) -> NDArray[Any]:
    """Return how much words say of their entries, from their weights there, beside how rare they are.

    Args:
        lengths: of the entries, in words.
        mean: of all lengths.
    """
    damping = _SATURATION * (1 - _LENGTH + _LENGTH * lengths / mean)
    return np.asarray(weights * _GAIN_MAX / (weights + damping))


class PostingWriter:
    """Writes the words of a snapshot that is being built, row after row."""

    def __init__(self, folder: Path, schema: Schema, *, kept: Forms) -> None:
        """Go on in a folder that holds the files of an earlier snapshot, or none."""
        self._folder = folder
        self._schema = schema
        self._writers = {
            part: ArrayWriter(folder / _file(part), dtype, kept=kept[_file(part)].shape[0] if kept else 0)
            for part, dtype in _TYPES.items()
        }

    def add(self, entries: Sequence[Entry], texts: TextWriter) -> None:
        """Append the words of entries; `texts` numbers them."""
        rows = [self._numbered(entry, texts) for entry in entries]
        found = [one for row, _ in rows for one in row]
        parts: dict[str, list[int] | list[float] | list[bool]] = {
            "codes": [code for code, _, _ in found],
            "weights": [weight for _, weight, _ in found],
            "named": [is_named for _, _, is_named in found],
            "counts": [len(row) for row, _ in rows],
            "lengths": [length for _, length in rows],
        }
        for part, values in parts.items():
            self._writers[part].append(np.asarray(values, _TYPES[part]))

    def close(self, alive: Mask) -> dict[str, Form]:
        """Finish the files and make the lists of the rows, those that are alive, by word."""
        forms = {_file(part): writer.close() for part, writer in self._writers.items()}
        given = {part: map_array(self._folder / _file(part), forms[_file(part)]) for part in self._writers}
        inverted = invert(given["codes"], given["counts"], alive)
        lengths = given["lengths"]
        mean = max(float(lengths[alive].mean()), 1.0) if alive.any() else 1.0
        saturated = gains(given["weights"][inverted.places], lengths[inverted.rows], mean)
        titled = np.bincount(given["codes"][inverted.places], weights=given["named"][inverted.places])
        made: dict[str, NDArray[Any]] = {
            "ends": inverted.ends,
            "rows": inverted.rows,
            "gains": saturated.astype(np.float32),
            "titled": titled.astype(np.int32),
        }
        return forms | {_file(part): write_array(self._folder / _file(part), one) for part, one in made.items()}

    def abandon(self) -> None:
        """Close the files as they are."""
        for writer in self._writers.values():
            writer.close()

    def _numbered(self, entry: Entry, texts: TextWriter) -> tuple[list[tuple[int, float, bool]], int]:
        """Return number, weight and whether it is in a field that corrects typos, of each word; and the length."""
        found = counted(entry, self._schema)
        return [
            (texts.number(word), weight, word in found.named) for word, weight in found.weights.items()
        ], found.length


class Postings:
    """The words of a finished snapshot, mapped into memory."""

    def __init__(self, folder: Path, forms: Forms, entries: int) -> None:
        """Map the files of a snapshot of so many entries."""
        self._entries = entries
        self._ends, self._rows, self._gains, self._titled = (
            map_array(folder / _file(part), forms[_file(part)]) for part in ("ends", "rows", "gains", "titled")
        )

    def documents(self, number: int) -> int:
        """Return how many entries have a word."""
        return len(self.rows(number))

    def rows(self, number: int) -> NDArray[np.int32]:
        """Return the rows that have a word, ascending."""
        rows: NDArray[np.int32] = self._rows[span(self._ends, number)]
        return rows

    def titled(self, number: int) -> int:
        """Return how many entries have a word in a field that corrects typos."""
        return int(self._titled[number]) if number < len(self._titled) else 0

    def most(self, number: int) -> float:
        """Return what a word adds to BM25's score of an entry at most."""
        return _GAIN_MAX * self._rarity(number)

    def add(self, number: int, scores: Floats, allowed: Mask | None) -> NDArray[np.int32]:
        """Add what a word says of the allowed rows to their scores, shape (all rows,); return those that have it."""
        having, gained = self.rows(number), self._gains[span(self._ends, number)]
        if allowed is not None:
            kept = np.flatnonzero(allowed[having])
            having, gained = having[kept], gained[kept]
        scores[having] += gained * np.float32(self._rarity(number))
        return having

    def add_at(self, rows: Rows, number: int, scores: Floats) -> None:
        """Add what a word says of some rows to their scores, which takes longer than `add` where they are many."""
        having = self.rows(number)
        places = np.minimum(np.searchsorted(having, rows.astype(np.int32)), len(having) - 1)
        places = places[having[places] == rows]
        gained = self._gains[span(self._ends, number)][places]
        scores[having[places]] += gained * np.float32(self._rarity(number))

    def has(self, rows: Rows, number: int) -> Mask:
        """Tell which of some rows have a word, which takes longer than to look at its rows where they are many."""
        having = self.rows(number)
        places = np.minimum(np.searchsorted(having, rows.astype(np.int32)), len(having) - 1)
        return np.asarray(having[places] == rows)

    def _rarity(self, number: int) -> float:
        documents = self.documents(number)
        return math.log1p((self._entries - documents + 0.5) / (documents + 0.5))


def named_numbers(folder: Path, forms: Forms) -> NDArray[np.int64]:
    """Return the numbers of the words that stand in some field that corrects typos."""
    titled = map_array(folder / _file("titled"), forms[_file("titled")])
    return np.flatnonzero(titled)
