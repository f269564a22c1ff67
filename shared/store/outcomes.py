"""The `outcomes` collection: one document per finished chunk. Its insertion is the moment of exactly-once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from pydantic import Field
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from shared.items import ItemStatus
from shared.model import Db, Json, Record

COLLECTION = "outcomes"
RANGE = 50  # outcomes read at a time


class StoredError(Record):
    """Why an item failed."""

    code: str
    message: str


class StoredItem(Record):
    """One item and what became of it."""

    index: int  # its place in the whole job
    item: Json  # the kind's Item
    status: ItemStatus
    result: Json | None = None  # the kind's Result
    error: StoredError | None = None

    def to_document(self) -> Json:
        """Return the part of a document to store, without the fields that say nothing."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Outcome(Record):
    """A finished chunk."""

    id: str = Field(alias="_id")  # the chunk's: job:epoch:n
    job_id: str
    epoch: int
    n: int
    items: tuple[StoredItem, ...]
    counts: dict[ItemStatus, int]
    busy_seconds: float
    worker: str
    finished_at: datetime
    expires_at: datetime

    def to_document(self) -> Json:
        """Return the document to store."""
        document = self.model_dump(mode="python", by_alias=True, exclude={"items"})
        document["counts"] = {status.value: count for status, count in self.counts.items()}
        document["items"] = [item.to_document() for item in self.items]
        return document


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("jobId", ASCENDING), ("epoch", ASCENDING), ("n", ASCENDING)]),
            IndexModel("expiresAt", expireAfterSeconds=0),
        ]
    )


def insert(db: Db, outcome: Outcome) -> bool:
    """Store a chunk's outcome; False when it has one already, so that this one is dropped."""
    try:
        db[COLLECTION].insert_one(outcome.to_document())
    except DuplicateKeyError:
        return False
    return True


def find_range(db: Db, job_id: str, epoch: int, *, start: int, stop: int) -> list[Outcome]:
    """Return the outcomes with numbers in [start, stop), in order."""
    query = {"jobId": job_id, "epoch": epoch, "n": {"$gte": start, "$lt": stop}}
    documents = sorted(db[COLLECTION].find(query), key=lambda document: document["n"])
    return [Outcome.from_document(document) for document in documents]


def iterate(db: Db, job_id: str, epoch: int) -> Iterator[Outcome]:
    """Yield the outcomes of one epoch, in order, up to a range of numbers that has none."""
    for start in count(0, RANGE):
        batch = find_range(db, job_id, epoch, start=start, stop=start + RANGE)
        yield from batch
        if not batch:
            return


def _count_pipeline(match: Json) -> Sequence[Mapping[str, Any]]:
    sums: Json = {status.value: {"$sum": f"$counts.{status.value}"} for status in ItemStatus}
    extra = {"chunks": {"$sum": 1}, "busySeconds": {"$sum": "$busySeconds"}}
    return [{"$match": match}, {"$group": {"_id": None, **sums, **extra}}]


def totals(db: Db, job_id: str, epoch: int) -> tuple[Counter[ItemStatus], int, float]:
    """Return the item counts, the number of chunks and the busy seconds of one epoch."""
    group = next(iter(db[COLLECTION].aggregate(_count_pipeline({"jobId": job_id, "epoch": epoch}))), None) or {}
    counts = Counter({status: int(group.get(status.value, 0)) for status in ItemStatus})
    return counts, int(group.get("chunks", 0)), float(group.get("busySeconds", 0.0))


def iterate_retriable(
    db: Db, job_id: str, epoch: int, *, chunks: int, n: int = -1, place: int = -1
) -> Iterator[tuple[int, int, StoredItem]]:
    """Yield (n, place, item) of what did not succeed in an epoch of so many chunks, behind (`n`, `place`)."""
    for start in range(max(n, 0), chunks, RANGE):
        for outcome in find_range(db, job_id, epoch, start=start, stop=min(start + RANGE, chunks)):
            for here, item in enumerate(outcome.items):
                if not item.status.is_good and (outcome.n, here) > (n, place):
                    yield outcome.n, here, item


def iterate_good(db: Db, job_id: str, *, epochs: int) -> Iterator[StoredItem]:
    """Yield the items of a job's first so many epochs whose results stand, as far as they have ended."""
    for epoch in range(epochs):
        start = 0
        while found := find_range(db, job_id, epoch, start=start, stop=start + RANGE):
            yield from (item for outcome in found for item in outcome.items if item.status.is_good)
            start += RANGE


def take_back(db: Db, job_id: str, epoch: int, *, behind: int, step: Callable[[Json], bool]) -> Counter[ItemStatus]:
    """Cancel the good steps of an epoch that come behind an item, so that a retry repeats them; return what they were.

    A step is alone in its chunk. A repeat finds nothing more to take back.
    """
    taken: Counter[ItemStatus] = Counter()
    for outcome in iterate(db, job_id, epoch):
        (item, *others) = outcome.items
        if others or not item.status.is_good or item.index <= behind or not step(item.item):
            continue
        taken[item.status] += 1
        cancelled = item.model_copy(update={"status": ItemStatus.CANCELLED, "result": None}).to_document()
        changes = {"items": [cancelled], "counts": {ItemStatus.CANCELLED.value: 1}}
        db[COLLECTION].update_one({"_id": outcome.id}, {"$set": changes})
    return taken


def keep_until(db: Db, job_id: str, moment: datetime) -> None:
    """Have a job's outcomes kept for as long as the job, when it ends again after a retry."""
    db[COLLECTION].update_many({"jobId": job_id}, {"$set": {"expiresAt": moment}})
