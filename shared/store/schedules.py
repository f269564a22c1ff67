"""The `schedules` collection: what is submitted by itself, and when next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from shared.clock import now
from shared.errors import ScheduleExists, ScheduleNotFound
from shared.model import Db, Json, Record

COLLECTION = "schedules"


class Schedule(Record):
    """A job request and when it is submitted."""

    name: str = Field(alias="_id")
    owner: str
    kind: str
    request: Json
    cron: str | None = None  # five fields, read in `timezone`
    every_seconds: float | None = None
    timezone: str = "UTC"
    paused: bool = False
    next_at: datetime
    last_slot: datetime | None = None
    last_job_id: str | None = None
    created_at: datetime
    updated_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_index([("paused", ASCENDING), ("nextAt", ASCENDING)])


def insert(db: Db, schedule: Schedule) -> None:
    """Store a new schedule. Raises `ScheduleExists`."""
    try:
        db[COLLECTION].insert_one(schedule.to_document())
    except DuplicateKeyError:
        raise ScheduleExists(f"There is a schedule {schedule.name!r} already.") from None


def get(db: Db, name: str) -> Schedule:
    """Return a schedule. Raises `ScheduleNotFound`."""
    document = db[COLLECTION].find_one({"_id": name})
    if document is None:
        raise ScheduleNotFound(f"There is no schedule {name!r}.")
    return Schedule.from_document(document)


def find_all(db: Db) -> list[Schedule]:
    """Return every schedule, by name."""
    return [Schedule.from_document(document) for document in db[COLLECTION].find().sort("_id", ASCENDING)]


def replace(db: Db, schedule: Schedule) -> None:
    """Store a changed schedule. Raises `ScheduleNotFound`."""
    if db[COLLECTION].replace_one({"_id": schedule.name}, schedule.to_document()).matched_count == 0:
        raise ScheduleNotFound(f"There is no schedule {schedule.name!r}.")


def delete(db: Db, name: str) -> None:
    """Delete a schedule; jobs that it submitted stay. Raises `ScheduleNotFound`."""
    if db[COLLECTION].delete_one({"_id": name}).deleted_count == 0:
        raise ScheduleNotFound(f"There is no schedule {name!r}.")


def find_due(db: Db) -> Sequence[Schedule]:
    """Return the schedules whose time has come."""
    found = db[COLLECTION].find({"paused": False, "nextAt": {"$lte": now()}})
    return [Schedule.from_document(document) for document in found]


def advance(db: Db, schedule: Schedule, *, next_at: datetime, job_id: str) -> bool:
    """Move on from a slot that has its job; False when somebody else has done so."""
    changes = {"nextAt": next_at, "lastSlot": schedule.next_at, "lastJobId": job_id, "updatedAt": now()}
    query = {"_id": schedule.name, "nextAt": schedule.next_at}
    return db[COLLECTION].update_one(query, {"$set": changes}).modified_count == 1
