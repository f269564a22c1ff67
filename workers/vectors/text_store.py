"""What a collection names, in one SQLite file: its entries by id, the numbers of labels and of words."""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from typing import Any

from workers.vectors.arrays import Form
from workers.vectors.errors import OpenedElsewhere, SnapshotClosed
from workers.vectors.schema import Entry, Kind, Schema, labels_of
from workers.vectors.words import fold

_PAGE = 4096
_CACHE_KIB = 64 * 1024
_IDS_PAGE = 1_000
_MAPPED_MAX = 2**31 - 1  # bytes, the most that SQLite maps

CONNECTIONS = 4  # a process: as many threads can look words up at a time

_TABLES = f"""
    PRAGMA page_size = {_PAGE};
    CREATE TABLE entries (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document TEXT NOT NULL);
    CREATE TABLE labels (name TEXT, label TEXT, code INTEGER, PRIMARY KEY (name, label)) WITHOUT ROWID;
    CREATE TABLE terms (number INTEGER PRIMARY KEY, term TEXT NOT NULL UNIQUE);
"""

Forms = Mapping[str, Form]  # name of a file -> how to read it


class TextWriter:
    """Fills the file of a snapshot that is being built; nothing is safe before `close`."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is new or a copy of an earlier snapshot's."""
        is_new = not path.exists()
        self._connection = sqlite3.connect(path, isolation_level=None)
        # What a killed builder leaves is thrown away, so a journal would protect nothing.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if is_new:
            self._connection.executescript(_TABLES)
        self._connection.execute("BEGIN")
        # In the order of the numbers, which leave none out.
        self._terms: dict[str, int] = dict(self._connection.execute("SELECT term, number FROM terms ORDER BY number"))
        self._kept_terms = len(self._terms)
        self._labels = {
            (column, label): code
            for column, label, code in self._connection.execute("SELECT name, label, code FROM labels")
        }
        self._codes = Counter(column for column, _ in self._labels)

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Return the rows of those ids that are there."""
        return rows_of(self._connection, ids)

    def rows_by_id(self) -> list[int]:
        """Return all rows, in the order of their ids."""
        return [row for (row,) in self._connection.execute("SELECT row FROM entries ORDER BY id")]

    def add(self, first: int, entries: Sequence[Entry]) -> None:
        """Put entries in, the first under that row and each of the others under the next."""
        rows = list(enumerate(entries, first))
        self._connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?)", ((row, one.id, dumped(one.to_json())) for row, one in rows)
        )

    def remove(self, rows: Sequence[int]) -> None:
        """Take the entries of some rows out."""
        self._connection.executemany("DELETE FROM entries WHERE row = ?", ((row,) for row in rows))

    def number(self, term: str) -> int:
        """Return the number of a word; a new word gets the next."""
        return self._terms.setdefault(term, len(self._terms))

    def codes(self, column: str, labels: Iterable[str]) -> list[int]:
        """Return the number of each label in a column, without repeats; a new label gets the next."""
        return sorted({self._code(column, fold(label)) for label in labels})

    def close(self) -> None:
        """Write what is still open."""
        fresh = list(self._terms.items())[self._kept_terms :]
        self._connection.executemany("INSERT INTO terms (term, number) VALUES (?, ?)", fresh)
        self._connection.execute("COMMIT")
        self._connection.close()

    def terms(self, numbers: Iterable[int]) -> list[tuple[int, str]]:
        """Return words by their numbers, as they are known when all is in."""
        every = list(self._terms)
        return [(number, every[number]) for number in numbers]

    def abandon(self) -> None:
        """Close the file as it is."""
        self._connection.close()

    def _code(self, column: str, label: str) -> int:
        code = self._labels.get((column, label))
        if code is None:
            code = self._labels[column, label] = self._codes[column]
            self._codes[column] += 1
            self._connection.execute("INSERT INTO labels VALUES (?, ?, ?)", (column, label, code))
        return code


class Connections:
    """Connections to a finished file, lent to the threads of the process that made this.

    All are there from the beginning: a snapshot may be cleaned away while it is still read.
    """

    def __init__(self, path: Path, count: int = CONNECTIONS) -> None:
        """Open the file so many times."""
        self._name = path.parent.name
        self._process = os.getpid()
        self._all = [open_texts(path) for _ in range(count)]
        self._free: LifoQueue[sqlite3.Connection] = LifoQueue()
        for connection in self._all:
            self._free.put(connection)

    @contextmanager
    def lent(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection, when one is free; who has one asks for no other.

        Raises:
            OpenedElsewhere: in another process than the one that opened them.
            SnapshotClosed: after `close`.
        """
        if os.getpid() != self._process:
            raise OpenedElsewhere(f"{self._name} was opened in process {self._process}, before a fork.")
        if not self._all:
            raise SnapshotClosed(f"{self._name} was closed.")
        connection = self._free.get()
        try:
            yield connection
        finally:
            self._free.put(connection)

    def close(self) -> None:
        """Close all of them, when no thread uses one any more."""
        while self._all:
            self._all.pop().close()


def open_texts(path: Path) -> sqlite3.Connection:
    """Open a finished file to read: it never changes, so no lock is ever taken, and its pages are mapped."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA mmap_size = {_MAPPED_MAX}")
    return connection


def rows_of(connection: sqlite3.Connection, ids: Sequence[str]) -> list[int]:
    """Return the rows of those ids that are there."""
    found = (connection.execute("SELECT row FROM entries WHERE id = ?", (one,)).fetchone() for one in ids)
    return [row[0] for row in found if row is not None]


def ids_of(connection: sqlite3.Connection, rows: Iterable[int]) -> list[str]:
    """Return the ids of some rows, in the rows' order."""
    wanted = list(rows)
    named: dict[int, str] = {}
    for start in range(0, len(wanted), _IDS_PAGE):
        page = wanted[start : start + _IDS_PAGE]
        places = ", ".join("?" * len(page))
        found = connection.execute(f"SELECT row, id FROM entries WHERE row IN ({places})", page)  # noqa: S608
        named |= dict(found.fetchall())
    return [named[row] for row in wanted]


def ids_after(connection: sqlite3.Connection, row: int) -> list[tuple[int, str]]:
    """Return the next rows after one, and their ids, a page of them."""
    rows = connection.execute("SELECT row, id FROM entries WHERE row > ? ORDER BY row LIMIT ?", (row, _IDS_PAGE))
    return rows.fetchall()


def numbers_of(connection: sqlite3.Connection, terms: Sequence[str]) -> dict[str, int]:
    """Return the numbers of those words that are known."""
    places = ", ".join("?" * len(terms))
    found = connection.execute(f"SELECT term, number FROM terms WHERE term IN ({places})", terms)  # noqa: S608
    return dict(found.fetchall())


def terms_of(connection: sqlite3.Connection, numbers: Sequence[int]) -> list[tuple[int, str]]:
    """Return words by their numbers."""
    places = ", ".join("?" * len(numbers))
    found = connection.execute(f"SELECT number, term FROM terms WHERE number IN ({places})", numbers)  # noqa: S608
    return found.fetchall()


def document_of(connection: sqlite3.Connection, one: str) -> dict[str, Any] | None:
    """Return the row, the texts and the attributes of an entry; None where there is none."""
    found = connection.execute("SELECT row, document FROM entries WHERE id = ?", (one,)).fetchone()
    return None if found is None else {"row": found[0], **json.loads(found[1])}


def texts_of(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, Mapping[str, Sequence[str]]]:
    """Return the texts of a page of rows."""
    places = ", ".join("?" * len(rows))
    found = connection.execute(f"SELECT row, document FROM entries WHERE row IN ({places})", rows)  # noqa: S608
    return {row: json.loads(document)["texts"] for row, document in found}


def dumped(document: Mapping[str, Any]) -> str:
    """Return what an entry's `to_json` gave in as few characters as can be."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def labels_in(entry: Entry, schema: Schema) -> dict[str, Sequence[str]]:
    """Return the labels of an entry by column, those without any too."""
    columns = (name for name, kind in schema.columns.items() if kind is Kind.LABELS)
    return {name: _labels(entry.attributes.get(name)) for name in columns}


def _labels(value: Any) -> Sequence[str]:
    return () if value is None else labels_of(value)
