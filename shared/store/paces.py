"""The `paces` collection: how long an item of each kind took of late, to size the next job's chunks."""

from __future__ import annotations

from shared.clock import now
from shared.model import Db

COLLECTION = "paces"


def ensure_indexes(db: Db) -> None:
    """Nothing to create: the collection holds one document per kind, by its name."""


def find(db: Db, kind: str) -> float | None:
    """Return the seconds that an item of `kind` took in the last finished job, or None."""
    document = db[COLLECTION].find_one({"_id": kind})
    return float(document["itemSeconds"]) if document else None


def save(db: Db, kind: str, item_seconds: float) -> None:
    """Remember the seconds per item of a job that has just finished."""
    changes = {"itemSeconds": item_seconds, "updatedAt": now()}
    db[COLLECTION].update_one({"_id": kind}, {"$set": changes}, upsert=True)
