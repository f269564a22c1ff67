"""The `schedules` collection: what is submitted by itself, and when next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field
from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from shared.clock import now
from shared.errors import ScheduleExists, ScheduleNotFound
from shared.model import Db, Json, Record

COLLECTION = "schedules"


class ScheduleError(Record):
    """Why the slot that was due last has no job, or why there is no next one."""

    code: str
    message: str


class Schedule(Record):
    """A job request and when it is submitted."""

    id: str = Field(alias="_id")  # owner.name
    name: str  # its owner's; others may have one of the same name
    owner: str
    user_id: str
    kind: str
    request: Json
    cron: str | None = None  # five fields, read in `timezone`
    every_seconds: float | None = None
    timezone: str = "UTC"
    paused: bool = False
    next_at: datetime
    last_slot: datetime | None = None
    last_job_id: str | None = None  # of the last slot whose job could be submitted
    last_error: ScheduleError | None = None  # cleared by the next slot that goes well
    created_at: datetime
    updated_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel([("paused", ASCENDING), ("nextAt", ASCENDING)])])


def schedule_id(owner: str, name: str) -> str:
    """Return the key of an owner's schedule; neither part has a dot in it."""
    return f"{owner}.{name}"


def insert(db: Db, schedule: Schedule) -> None:
    """Store a new schedule. Raises `ScheduleExists`."""
    try:
        db[COLLECTION].insert_one(schedule.to_document())
    except DuplicateKeyError:
        raise ScheduleExists(f"There is a schedule {schedule.name!r} already.") from None


def get(db: Db, owner: str, name: str) -> Schedule:
    """Return an owner's schedule. Raises `ScheduleNotFound`."""
    return _found(db[COLLECTION].find_one(_key(owner, name)), name)


def _key(owner: str, name: str) -> Json:
    return {"_id": schedule_id(owner, name)}


def _found(document: Json | None, name: str) -> Schedule:
    if document is None:
        raise ScheduleNotFound(f"There is no schedule {name!r}.")
    return Schedule.from_document(document)


def find_all(db: Db, owner: str) -> list[Schedule]:
    """Return every schedule of an owner, by name."""
    # The ids that begin with the owner and a dot: "/" is the character behind the dot.
    query = {"_id": {"$gte": f"{owner}.", "$lt": f"{owner}/"}}
    return [Schedule.from_document(document) for document in db[COLLECTION].find(query).sort("_id", ASCENDING)]


def update(db: Db, owner: str, name: str, changes: Mapping[str, Any]) -> Schedule:
    """Change these fields, given by their names in `Schedule`, and return the whole. Raises `ScheduleNotFound`."""
    values = {Schedule.model_fields[field].alias: value for field, value in changes.items()}
    document = db[COLLECTION].find_one_and_update(
        _key(owner, name), {"$set": values}, return_document=ReturnDocument.AFTER
    )
    return _found(document, name)


def delete(db: Db, owner: str, name: str) -> None:
    """Delete a schedule; jobs that it submitted stay. Raises `ScheduleNotFound`."""
    if db[COLLECTION].delete_one(_key(owner, name)).deleted_count == 0:
        raise ScheduleNotFound(f"There is no schedule {name!r}.")


def find_due(db: Db) -> Sequence[Schedule]:
    """Return the schedules whose time has come."""
    found = db[COLLECTION].find({"paused": False, "nextAt": {"$lte": now()}})
    return [Schedule.from_document(document) for document in found]


def record_slot(db: Db, schedule: Schedule, *, job_id: str | None, error: ScheduleError | None) -> None:
    """Note what became of the slot that is due, unless a later one was noted already."""
    changes: dict[str, Any] = {"lastSlot": schedule.next_at, "lastError": error and error.to_document()}
    if job_id is not None:
        changes["lastJobId"] = job_id
    query = {"_id": schedule.id, "lastSlot": {"$not": {"$gt": schedule.next_at}}}
    db[COLLECTION].update_one(query, {"$set": {**changes, "updatedAt": now()}})


def advance(db: Db, schedule: Schedule, *, next_at: datetime) -> bool:
    """Move on from the slot that was due; False when somebody else has done so, or has set another time."""
    return _leave_slot(db, schedule, {"nextAt": next_at})


def suspend(db: Db, schedule: Schedule, error: ScheduleError) -> bool:
    """Pause a schedule that has no next slot; False when somebody else has moved on or set another time."""
    return _leave_slot(db, schedule, {"paused": True, "lastError": error.to_document()})


def _leave_slot(db: Db, schedule: Schedule, changes: Mapping[str, Any]) -> bool:
    query = {"_id": schedule.id, "nextAt": schedule.next_at}
    return db[COLLECTION].update_one(query, {"$set": {**changes, "updatedAt": now()}}).modified_count == 1
