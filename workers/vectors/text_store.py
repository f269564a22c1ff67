"""The texts of a collection in one SQLite file: entries by id, labels, and a full-text index of the fields' words."""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue
from typing import Any

from workers.vectors.errors import OpenedElsewhere, SnapshotClosed
from workers.vectors.schema import Entry, Kind, Schema, labels_of
from workers.vectors.words import fold, words

# The index gets words that `words` made, parted by spaces: its own tokenizer has nothing left to decide.
_TOKENIZER = "unicode61 remove_diacritics 0 categories 'L* M* N* Co'"
_PAGE = 4096
_CACHE_KIB = 64 * 1024
_IDS_PAGE = 1_000
_MAPPED_MAX = 2**31 - 1  # bytes, the most that SQLite maps

CONNECTIONS = 4  # a process: as many threads can look words up at a time

Texts = Mapping[str, Sequence[str]]


class TextWriter:
    """Fills the file of a snapshot that is being built; nothing is safe before `close`."""

    def __init__(self, path: Path, schema: Schema) -> None:
        """Open the file, which is new or a copy of an earlier snapshot's."""
        self._schema = schema
        is_new = not path.exists()
        self._connection = sqlite3.connect(path, isolation_level=None)
        # What a killed builder leaves is thrown away, so a journal would protect nothing.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if is_new:
            self._connection.executescript(_tables(schema))
        self._connection.execute("BEGIN")
        # term -> change of the entries that have it anywhere, and in a field that corrects typos
        self._documents: Counter[str] = Counter()
        self._named: Counter[str] = Counter()
        self._labels = {
            (column, label): code
            for column, label, code in self._connection.execute("SELECT name, label, code FROM labels")
        }
        self._codes = Counter(column for column, _ in self._labels)

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Return the rows of those ids that are there."""
        return rows_of(self._connection, ids)

    def add(self, first: int, entries: Sequence[Entry]) -> None:
        """Put entries in, the first under that row and each of the others under the next."""
        rows = list(enumerate(entries, first))
        self._connection.executemany(
            "INSERT INTO entries VALUES (?, ?, ?)", ((row, one.id, _document(one)) for row, one in rows)
        )
        self._index(((row, self._words(entry.texts)) for row, entry in rows), sign=1)

    def remove(self, rows: Sequence[int]) -> None:
        """Take the entries of some rows out."""
        for row in rows:
            ((document,),) = self._connection.execute("SELECT document FROM entries WHERE row = ?", (row,)).fetchall()
            self._index([(row, self._words(json.loads(document)["texts"]))], sign=-1)
            self._connection.execute("DELETE FROM entries WHERE row = ?", (row,))

    def codes(self, column: str, labels: Iterable[str]) -> list[int]:
        """Return the number of each label in a column, without repeats; a new label gets the next."""
        return sorted({self._code(column, fold(label)) for label in labels})

    def close(self) -> list[tuple[int, str]]:
        """Write what is still open and put the file in order; return the words that misspelt ones may stand for."""
        self._write_terms()
        connection = self._connection
        named = connection.execute("SELECT number, term FROM terms WHERE named > 0").fetchall()
        if self._schema.fields:
            connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        connection.execute("COMMIT")
        connection.close()
        return named

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

    def _words(self, texts: Texts) -> list[list[str]]:
        return [[word for text in texts.get(name, ()) for word in words(text)] for name in self._schema.fields]

    def _index(self, found: Iterable[tuple[int, list[list[str]]]], *, sign: int) -> None:
        if not self._schema.fields:
            return
        rows = []
        for row, fields in found:
            rows.append((row, *map(" ".join, fields)))
            _count(self._documents, (word for field in fields for word in field), sign)
            corrected = zip(self._schema.fields.values(), fields, strict=True)
            _count(self._named, (word for kind, field in corrected if kind.corrects_typos for word in field), sign)
        names = _field_columns(self._schema)
        places = ", ".join("?" * len(self._schema.fields))
        # An index without content of its own is told what to forget.
        head, values = ("", "") if sign > 0 else ("words, ", "'delete', ")
        self._connection.executemany(
            f"INSERT INTO words ({head}rowid, {names}) VALUES ({values}?, {places})",  # noqa: S608 - words of this module
            rows,
        )

    def _write_terms(self) -> None:
        terms = self._documents.keys() | self._named.keys()
        self._connection.executemany(
            """INSERT INTO terms (term, documents, named) VALUES (?, ?, ?)
               ON CONFLICT (term) DO UPDATE SET documents = documents + excluded.documents,
                                                named = named + excluded.named""",
            ((term, self._documents[term], self._named[term]) for term in sorted(terms)),
        )
        self._connection.execute("DELETE FROM terms WHERE documents = 0")


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
    return [connection.execute("SELECT id FROM entries WHERE row = ?", (row,)).fetchone()[0] for row in rows]


def ids_after(connection: sqlite3.Connection, row: int) -> list[tuple[int, str]]:
    """Return the next rows after one, and their ids, a page of them."""
    rows = connection.execute("SELECT row, id FROM entries WHERE row > ? ORDER BY row LIMIT ?", (row, _IDS_PAGE))
    return rows.fetchall()


def document_of(connection: sqlite3.Connection, one: str) -> dict[str, Any] | None:
    """Return the row, the texts and the attributes of an entry; None where there is none."""
    found = connection.execute("SELECT row, document FROM entries WHERE id = ?", (one,)).fetchone()
    return None if found is None else {"row": found[0], **json.loads(found[1])}


def _document(entry: Entry) -> str:
    attributes = {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in entry.attributes.items()
        if value is not None
    }
    texts = {name: list(texts) for name, texts in entry.texts.items() if texts}
    return json.dumps({"texts": texts, "attributes": attributes}, ensure_ascii=False, separators=(",", ":"))


def _count(counter: Counter[str], found: Iterable[str], sign: int) -> None:
    for word in set(found):
        counter[word] += sign


def _tables(schema: Schema) -> str:
    tables = f"""
        PRAGMA page_size = {_PAGE};
        CREATE TABLE entries (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, document TEXT NOT NULL);
        CREATE TABLE labels (name TEXT, label TEXT, code INTEGER, PRIMARY KEY (name, label)) WITHOUT ROWID;
        CREATE TABLE terms (number INTEGER PRIMARY KEY, term TEXT NOT NULL UNIQUE, documents INTEGER, named INTEGER);
    """
    if not schema.fields:
        return tables
    weights = ", ".join(str(float(field.weight)) for field in schema.fields.values())
    options = f"content = '', tokenize = '{_TOKENIZER.replace(chr(39), chr(39) * 2)}'"
    return f"""{tables}
        CREATE VIRTUAL TABLE words USING fts5 ({_field_columns(schema)}, {options});
        INSERT INTO words (words, rank) VALUES ('rank', 'bm25({weights})');
    """  # noqa: S608 - numbers and words of this module


def _field_columns(schema: Schema) -> str:
    # Numbered: some names mean something to the index.
    return ", ".join(f"field_{number}" for number in range(len(schema.fields)))


def labels_in(entry: Entry, schema: Schema) -> dict[str, Sequence[str]]:
    """Return the labels of an entry by column, those without any too."""
    columns = (name for name, kind in schema.columns.items() if kind is Kind.LABELS)
    return {name: _labels(entry.attributes.get(name)) for name in columns}


def _labels(value: Any) -> Sequence[str]:
    return () if value is None else labels_of(value)
