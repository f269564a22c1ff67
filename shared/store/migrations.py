"""The `migrations` collection: which migrations the database has had, and who is at it."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field
from pymongo.errors import DuplicateKeyError

from shared.clock import now
from shared.errors import DatabaseTooNew
from shared.model import Db, Record

COLLECTION = "migrations"
LOCK = "lock"


class AppliedMigration(Record):
    """A migration that the whole database has had."""

    number: int = Field(alias="_id")
    title: str
    documents: int  # changed by it
    seconds: float
    applied_at: datetime


def version(db: Db) -> int:
    """Return the number of the last migration that the database has had, 0 before the first."""
    return max((one.number for one in find_all(db)), default=0)


def check_version(db: Db, latest: int) -> None:
    """Raise `DatabaseTooNew` for a database that a later version has migrated."""
    found = version(db)
    if found > latest:
        raise DatabaseTooNew(
            f"The database {db.name} is at migration {found}, and this version of Backline knows those up to {latest}."
        )


def find_all(db: Db) -> list[AppliedMigration]:
    """Return the migrations that the database has had, in order."""
    found = [one for one in db[COLLECTION].find() if one["_id"] != LOCK]
    return sorted((AppliedMigration.from_document(one) for one in found), key=lambda one: one.number)


def record(db: Db, migration: AppliedMigration) -> None:
    """Note a migration that was applied; a repeat changes nothing."""
    document = migration.to_document()
    db[COLLECTION].update_one({"_id": document.pop("_id")}, {"$setOnInsert": document}, upsert=True)


# The lock


def lock(db: Db, token: str, lease: timedelta) -> datetime | None:
    """Take the lock; return until when somebody else holds it, or None where it was free or has run out."""
    moment = now()
    mine = {"token": token, "until": moment + lease}
    try:
        db[COLLECTION].insert_one({"_id": LOCK, **mine})
    except DuplicateKeyError:
        over = {"_id": LOCK, "until": {"$lt": moment}}
        if db[COLLECTION].update_one(over, {"$set": mine}).modified_count:
            return None
        found = db[COLLECTION].find_one({"_id": LOCK})
        return found["until"] if found else moment
    return None


def renew(db: Db, token: str, lease: timedelta) -> bool:
    """Hold the lock on; False where somebody else has taken it."""
    query = {"_id": LOCK, "token": token}
    return db[COLLECTION].update_one(query, {"$set": {"until": now() + lease}}).matched_count == 1


def unlock(db: Db, token: str) -> None:
    """Let go of the lock, if it is still held under this token."""
    db[COLLECTION].delete_one({"_id": LOCK, "token": token})
