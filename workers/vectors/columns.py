"""The attributes of all entries, a column each: numbers by row, labels as lists of the rows that have them."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.vectors.arrays import ArrayWriter, Form, map_array, write_array
from workers.vectors.errors import InvalidQuery
from workers.vectors.inverted import invert, span
from workers.vectors.nearest import Mask, Rows
from workers.vectors.schema import Entry, Kind, Schema, is_readable
from workers.vectors.text_store import Connections, Forms, TextWriter, labels_in, rows_of
from workers.vectors.words import fold


def _number_file(column: str) -> str:
    return f"number.{column}.bin"


def _label_file(column: str, part: str) -> str:
    return f"label.{column}.{part}.bin"


class ColumnWriter:
    """Writes the columns of a snapshot that is being built, row after row."""

    def __init__(self, folder: Path, schema: Schema, *, kept: Forms) -> None:
        """Go on in a folder that holds the files of an earlier snapshot, or none."""
        self._folder = folder
        self._schema = schema
        self._numbers = {
            name: _writer(folder, _number_file(name), np.float64, kept) for name in _columns(schema, Kind.NUMBER)
        }
        # Forward: the codes of all rows one after the other, and how many each row has.
        self._codes = {
            name: _writer(folder, _label_file(name, "codes"), np.int32, kept) for name in _columns(schema, Kind.LABELS)
        }
        self._counts = {
            name: _writer(folder, _label_file(name, "counts"), np.int32, kept) for name in _columns(schema, Kind.LABELS)
        }

    def add(self, entries: Sequence[Entry], texts: TextWriter) -> None:
        """Append the attributes of entries; `texts` numbers the labels."""
        for name, writer in self._numbers.items():
            writer.append(np.asarray([_number(entry, name) for entry in entries], np.float64))
        labels = [labels_in(entry, self._schema) for entry in entries]
        for name in self._codes:
            codes = [texts.codes(name, one[name]) for one in labels]
            self._counts[name].append(np.asarray([len(one) for one in codes], np.int32))
            self._codes[name].append(np.asarray([code for one in codes for code in one], np.int32))

    def close(self, alive: Mask) -> dict[str, Form]:
        """Finish the files and make the lists of the rows, those that are alive, by label."""
        forms = {_number_file(name): writer.close() for name, writer in self._numbers.items()}
        for name in self._codes:
            codes, counts = self._codes[name].close(), self._counts[name].close()
            forms |= {_label_file(name, "codes"): codes, _label_file(name, "counts"): counts}
            forms |= self._by_label(name, codes, counts, alive)
        return forms

    def abandon(self) -> None:
        """Close the files as they are."""
        for writer in (*self._numbers.values(), *self._codes.values(), *self._counts.values()):
            writer.close()

    def _by_label(self, name: str, codes: Form, counts: Form, alive: Mask) -> dict[str, Form]:
        inverted = invert(
            map_array(self._folder / _label_file(name, "codes"), codes),
            map_array(self._folder / _label_file(name, "counts"), counts),
            alive,
        )
        return {
            _label_file(name, "ends"): write_array(self._folder / _label_file(name, "ends"), inverted.ends),
            _label_file(name, "rows"): write_array(self._folder / _label_file(name, "rows"), inverted.rows),
        }


class Columns:
    """The columns of a finished snapshot, mapped into memory: what conditions look at."""

    def __init__(self, folder: Path, schema: Schema, forms: Forms, rows: int, connections: Connections) -> None:
        """Map the files; `connections` lead to the texts of the same snapshot."""
        self.rows = rows
        self._connections = connections
        self._numbers: dict[str, NDArray[np.float64]] = {
            name: map_array(folder / _number_file(name), forms[_number_file(name)])
            for name in _columns(schema, Kind.NUMBER)
        }
        self._labels: dict[str, tuple[NDArray[np.int64], NDArray[np.int32]]] = {
            name: (
                map_array(folder / _label_file(name, "ends"), forms[_label_file(name, "ends")]),
                map_array(folder / _label_file(name, "rows"), forms[_label_file(name, "rows")]),
            )
            for name in _columns(schema, Kind.LABELS)
        }

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers, shape (rows,), NaN where there is none; raises `InvalidQuery`."""
        if column not in self._numbers:
            raise InvalidQuery(f"There is no column of numbers {column!r}, only {', '.join(self._numbers) or 'none'}.")
        return self._numbers[column]

    def labelled(self, column: str, label: str) -> Rows:
        """Return the rows that have a label, in any spelling of it; raises `InvalidQuery`."""
        if column not in self._labels:
            raise InvalidQuery(f"There is no column of labels {column!r}, only {', '.join(self._labels) or 'none'}.")
        with self._connections.lent() as connection:
            code = _code(connection, column, label)
        ends, rows = self._labels[column]
        return np.empty(0, np.int64) if code is None else rows[span(ends, code)].astype(np.int64)

    def rows_of(self, ids: Sequence[str]) -> Rows:
        """Return the rows of some ids; unknown ones have none."""
        with self._connections.lent() as connection:
            return np.asarray(rows_of(connection, [one for one in ids if is_readable(one)]), np.int64)


def _columns(schema: Schema, kind: Kind) -> list[str]:
    return [name for name, one in schema.columns.items() if one is kind]


def _writer(folder: Path, file: str, dtype: type, kept: Forms) -> ArrayWriter:
    return ArrayWriter(folder / file, dtype, kept=kept[file].shape[0] if file in kept else 0)


def _number(entry: Entry, column: str) -> float:
    value = entry.attributes.get(column)
    return float(value) if isinstance(value, int | float) else np.nan


def _code(connection: sqlite3.Connection, column: str, label: str) -> int | None:
    if not is_readable(label):
        return None
    found = connection.execute("SELECT code FROM labels WHERE name = ? AND label = ?", (column, fold(label))).fetchone()
    return None if found is None else int(found[0])
