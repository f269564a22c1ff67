"""The `slots` collection: one document per worker process, renewed every few seconds while it lives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field
from pymongo import IndexModel

from shared.broker import Queue
from shared.clock import now
from shared.model import Db, Record, known_members

COLLECTION = "slots"
FRESH = timedelta(seconds=20)
"""A process that was silent for longer does not count as alive."""


class Slot(Record):
    """A worker process and what it is doing."""

    id: str = Field(alias="_id")  # host:pid:start
    worker: str  # the Celery node it belongs to
    queues: Annotated[tuple[Queue, ...], known_members(Queue)]
    job_id: str | None = None  # the job of the chunk that it holds
    chunk: int | None = None
    rss_mb: float = 0.0
    started_at: datetime
    seen_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel("seenAt", expireAfterSeconds=3600)])


def save(db: Db, slot: Slot) -> None:
    """Say that this process lives."""
    db[COLLECTION].replace_one({"_id": slot.id}, slot.to_document(), upsert=True)


def delete(db: Db, slot_id: str) -> None:
    """Forget a process that has ended."""
    db[COLLECTION].delete_one({"_id": slot_id})


def find_alive(db: Db) -> Sequence[Slot]:
    """Return the processes that were heard of lately."""
    found = db[COLLECTION].find({"seenAt": {"$gte": now() - FRESH}})
    return [Slot.from_document(document) for document in found]


def count_by_queue(db: Db) -> Counter[Queue]:
    """Return how many live processes take work from each queue."""
    return Counter(queue for slot in find_alive(db) for queue in slot.queues)
