"""The `imports` collection: one document per job that imported a catalogue, so that its workers agree on the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from shared.clock import now
from shared.model import Db, Record

COLLECTION = "imports"
ONE_AT_A_TIME = "catalogue"
"""What `running` holds while a job imports: it is unique, so that no two imports of a library meet."""


class SourceState(Record):
    """What a source was when it was read, by which an unchanged one is known."""

    digest: str | None = None  # SHA-256 of the file as it came
    size: int | None = None  # bytes
    mtime_ns: int | None = None
    etag: str | None = None
    last_modified: str | None = None  # as the server's header said it


class HandOver(Record):
    """A document that is to go on with what a new one holds, which then goes."""

    old: str
    new: str


class Counts(Record):
    """What became of the entries."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    revived: int = 0
    duplicates: int = 0
    carried_over: int = 0  # kept their id although the source that they had it from is gone
    removed: int = 0
    kept_back: int = 0  # would have been removed, were they not too many
    failed: int = 0
    warnings: dict[str, int] = Field(default_factory=dict)  # by code
    failures: dict[str, int] = Field(default_factory=dict)  # by code


class ImportRecord(Record):
    """One job's import."""

    id: str = Field(alias="_id")  # the job's
    catalogue: str
    source: str  # the path or the address that was read
    is_release: bool
    state: SourceState
    form: str | None = None
    content: str | None = None  # SHA-256 of the entries, whatever they were packed in
    last_update: str | None = None  # of the release, YYYY-MM-DD
    entries: int = 0
    unchanged: bool = False
    hand_overs: tuple[HandOver, ...] = ()  # that are being made; a crash in the middle is finished from here
    carried_over: int = 0  # that have been made
    counts: Counts | None = None  # once it is settled
    started_at: datetime
    turn_at: datetime | None = None  # since when no other import of the library was begun
    finished_at: datetime | None = None


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel("running", unique=True, sparse=True),
            IndexModel([("catalogue", ASCENDING), ("finishedAt", DESCENDING)]),
        ]
    )


def insert(db: Db, record: ImportRecord) -> None:
    """Store an import; a repeat changes nothing else."""
    document = record.to_document()
    key = {"_id": document.pop("_id")}
    db[COLLECTION].update_one(key, {"$setOnInsert": document}, upsert=True)


def find(db: Db, job_id: str) -> ImportRecord | None:
    """Return a job's import, or None."""
    document = db[COLLECTION].find_one({"_id": job_id})
    return ImportRecord.from_document(document) if document else None


def find_last(db: Db, catalogue: str) -> ImportRecord | None:
    """Return the import of this catalogue that was settled last and read anything, or None."""
    query = {"catalogue": catalogue, "finishedAt": {"$gt": datetime.fromtimestamp(0).astimezone()}}
    found = db[COLLECTION].find(query).sort("finishedAt", DESCENDING)
    return next((ImportRecord.from_document(one) for one in found if not one.get("unchanged")), None)


def take_turn(db: Db, job_id: str) -> bool:
    """Let a job import that has its document; False while another one does."""
    try:
        db[COLLECTION].update_one({"_id": job_id}, {"$set": {"running": ONE_AT_A_TIME}})
    except DuplicateKeyError:
        return False
    return True


def note_turn(db: Db, job_id: str) -> None:
    """Note that it is a job's turn for the first time."""
    db[COLLECTION].update_one({"_id": job_id}, {"$set": {"turnAt": now()}})


def find_running(db: Db) -> str | None:
    """Return the id of the job whose turn it is, or None."""
    document = db[COLLECTION].find_one({"running": ONE_AT_A_TIME}, {"_id": 1})
    return None if document is None else str(document["_id"])


def end_turn(db: Db, job_id: str) -> None:
    """Let the next job import."""
    db[COLLECTION].update_one({"_id": job_id}, {"$unset": {"running": ""}})


def begin_hand_overs(db: Db, job_id: str, pairs: Sequence[HandOver]) -> None:
    """Note what is going to be handed over, before anything of it is."""
    db[COLLECTION].update_one({"_id": job_id}, {"$set": {"handOvers": [pair.to_document() for pair in pairs]}})


def end_hand_overs(db: Db, job_id: str, count: int) -> None:
    """Note that all that was going to be handed over has been."""
    db[COLLECTION].update_one({"_id": job_id}, {"$set": {"handOvers": []}, "$inc": {"carriedOver": count}})


def finish(db: Db, job_id: str, counts: Counts) -> None:
    """Note that an import is settled, and let the next job import."""
    changes: Mapping[str, Any] = {"counts": counts.to_document(), "finishedAt": now()}
    db[COLLECTION].update_one({"_id": job_id}, {"$set": changes, "$unset": {"running": ""}})
