"""What a backup says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bson import json_util
from bson.json_util import JSONMode, JSONOptions
from pydantic import Field

from shared.model import Db, Json, Record
from shared.store.id_ranges import IdRange

FORMAT = 1
"""Goes up when an earlier `backline restore` could not read what a later `backline backup` writes."""

MAIN = ""
"""How the main database is called in a backup, whose library is that of the owner `local`; others by their owner."""

CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True)


class Part(Record):
    """A file with some documents of a collection, as BSON one behind the other, compressed with Zstandard."""

    file: str
    sha256: str  # of the file
    documents: int
    bytes: int  # of the documents
    ids: IdRange


class KeptCollection(Record):
    """A collection and what is kept of it."""

    owner: str  # whose library it is in; empty in the main database
    name: str
    options: str  # what it was created with, in extended JSON
    indexes: str  # their definitions, in extended JSON, that of `_id` left out
    size: int  # documents of a part
    batch: int  # documents that are asked for at a time
    parts: tuple[Part, ...] = ()

    @property
    def documents(self) -> int:
        """How many there are."""
        return sum(part.documents for part in self.parts)

    @property
    def bytes(self) -> int:
        """What they weigh, uncompressed."""
        return sum(part.bytes for part in self.parts)


class Beginning(Record):
    """What is known of a backup when it begins."""

    id: str
    format: int = FORMAT
    version: str  # of Backline
    migration: int  # the last that the database has had
    database: str  # its name where it was
    started_at: datetime


class Manifest(Beginning):
    """All that a finished backup consists of; every document is as it was at some moment between the two times."""

    finished_at: datetime
    collections: tuple[KeptCollection, ...]
    key_file: str | None = None  # the stack's own key, where there was one to keep
    notes: tuple[str, ...] = Field(default=())

    @property
    def owners(self) -> list[str]:
        """Whose libraries are in it, the main one first."""
        return sorted({MAIN, *(one.owner for one in self.collections)})

    @property
    def documents(self) -> int:
        """How many there are in all."""
        return sum(one.documents for one in self.collections)

    @property
    def bytes(self) -> int:
        """What they weigh, uncompressed."""
        return sum(one.bytes for one in self.collections)


def to_text(value: Json | Sequence[Json]) -> str:
    """Return what a server says of a collection as text that `from_text` reads back."""
    return json_util.dumps(value, json_options=CANONICAL)


def definitions(db: Db, collection: str) -> list[Json]:
    """Return the indexes of a collection as `createIndexes` takes them, by name, without that of `_id`."""
    found = [dict(one) for one in db[collection].list_indexes()]
    return sorted((_definition(one) for one in found if one["name"] != "_id_"), key=lambda one: str(one["name"]))


def _definition(found: Json) -> Json:
    """Return one without what differs from server to server; a direction is a whole number everywhere."""
    keys = {name: int(kind) if isinstance(kind, float) else kind for name, kind in found["key"].items()}
    rest = {name: value for name, value in found.items() if name not in ("v", "ns", "key")}
    plain = {name: int(value) if name == "expireAfterSeconds" else value for name, value in rest.items()}
    return {"key": keys, **dict(sorted(plain.items()))}


def from_text(text: str) -> Json:
    """Return the options of a collection."""
    read: Json = json_util.loads(text, json_options=CANONICAL)
    return read


def indexes_from_text(text: str) -> list[Json]:
    """Return the definitions of indexes."""
    read: list[Json] = json_util.loads(text, json_options=CANONICAL)
    return read
