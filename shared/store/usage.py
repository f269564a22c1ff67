"""The `usage` collection: how many items an owner's jobs have laid out on a day."""

from __future__ import annotations

from datetime import datetime, timedelta

from pymongo import IndexModel

from shared.model import Db

COLLECTION = "usage"
KEPT = timedelta(days=40)


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel("expiresAt", expireAfterSeconds=0)])


def _id(owner: str, moment: datetime) -> str:
    return f"{owner}@{moment:%Y-%m-%d}"


def items_of_day(db: Db, owner: str, moment: datetime) -> int:
    """Return the items of the day (UTC) that `moment` lies in."""
    document = db[COLLECTION].find_one({"_id": _id(owner, moment)})
    return int(document["items"]) if document else 0


def add_items(db: Db, owner: str, moment: datetime, count: int) -> None:
    """Count items on."""
    change = {"$inc": {"items": count}, "$setOnInsert": {"owner": owner, "expiresAt": moment + KEPT}}
    db[COLLECTION].update_one({"_id": _id(owner, moment)}, change, upsert=True)
