"""The `chunks` collection: live work only, so it stays as small as the windows of the running jobs.

`visibleAt` alone says what may be claimed: null while the plan that made the chunk is not committed, a time in
the past once it may run, a time in the future while an owner's lease holds or an outside budget is spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import ASCENDING, IndexModel, ReturnDocument

from shared.broker import Queue
from shared.clock import new_id, now
from shared.model import Db, Json, Record
from shared.store.outcomes import StoredItem

COLLECTION = "chunks"


class PlannedItem(Record):
    """One item in a chunk."""

    index: int  # its place in the whole job, kept over retries
    item: Json  # the kind's Item


class Chunk(Record):
    """A run of items that one worker process takes at once."""

    id: str = Field(alias="_id")
    job_id: str
    kind: str
    queue: Queue
    epoch: int
    n: int  # its number within the epoch
    items: tuple[PlannedItem, ...]
    turn: float  # fair queueing: the lowest turn is taken first
    planner: str  # the token of the plan that laid it out
    visible_at: datetime | None = None
    process: str | None = None  # the worker process that holds it
    owner: str | None = None  # that process's claim: it fences off whoever held the chunk before
    attempts: int = 0  # claims that were not given back in order
    current: int | None = None  # position of the item in work, marked from the second attempt on
    failures: int = 0  # claims that ended in an exception which no item is to blame for
    reason: str | None = None  # what that exception said
    crashes: dict[str, int] = Field(default_factory=dict)  # position -> how often its worker died in it
    hung: tuple[int, ...] = ()  # positions of items that were stopped for taking too long
    ended: tuple[StoredItem, ...] = ()  # the first items, merged already, when the chunk was given back half done


def chunk_id(job_id: str, epoch: int, n: int) -> str:
    """Return the deterministic id that a chunk and its outcome share."""
    return f"{job_id}:{epoch}:{n}"


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("queue", ASCENDING), ("visibleAt", ASCENDING)]),
            IndexModel([("jobId", ASCENDING), ("epoch", ASCENDING), ("visibleAt", ASCENDING)]),
        ]
    )


# Planning


def insert(db: Db, chunks: Sequence[Chunk]) -> None:
    """Store chunks that nobody may claim yet. Raises `BulkWriteError` where a number is taken."""
    db[COLLECTION].insert_many([chunk.to_document() for chunk in chunks], ordered=True)


def discard_uncommitted(db: Db, job_id: str, epoch: int, *, planner: str | None = None) -> None:
    """Delete what a planner that died, or lost its lease, left behind; one planner's, or anybody's."""
    query: Json = {"jobId": job_id, "epoch": epoch, "visibleAt": None}
    db[COLLECTION].delete_many(query if planner is None else {**query, "planner": planner})


def commit(db: Db, job_id: str, epoch: int, *, below: int) -> int:
    """Let the laid out chunks with numbers under `below` be claimed; return how many that were."""
    query = {"jobId": job_id, "epoch": epoch, "visibleAt": None, "n": {"$lt": below}}
    return db[COLLECTION].update_many(query, {"$set": {"visibleAt": now()}}).modified_count


def lowest_turn(db: Db, queue: Queue, lease: timedelta) -> float | None:
    """Return the turn at which `queue` stands, or None when nothing in it waits or is worked on."""
    # Chunks that are parked for longer than a lease stand aside: they would hold the clock back.
    query = {"queue": queue.value, "visibleAt": {"$lte": now() + lease}}
    first = db[COLLECTION].find(query, {"turn": 1}).sort("turn", ASCENDING).limit(1)
    return next((float(chunk["turn"]) for chunk in first), None)


def count_live(db: Db, job_id: str, epoch: int) -> int:
    """Return how many chunks of this epoch have no outcome yet."""
    # The command of that name, asked after every chunk; `count_documents` is an aggregation, at half the price again.
    return int(db.command("count", COLLECTION, query={"jobId": job_id, "epoch": epoch})["n"])


# Running


def claim(db: Db, queue: Queue, process: str, lease: timedelta) -> Chunk | None:
    """Take the chunk whose turn it is in `queue` for `lease`; None when nothing waits there.

    An expired lease makes a chunk claimable again, so that a dead owner's work is taken over here too.
    """
    moment = now()
    document = db[COLLECTION].find_one_and_update(
        {"queue": queue.value, "visibleAt": {"$lte": moment}},
        {"$set": _held_by(process, moment + lease), "$inc": {"attempts": 1}},
        sort=[("turn", ASCENDING)],
        return_document=ReturnDocument.AFTER,
    )
    return Chunk.from_document(document) if document else None


def _held_by(process: str, until: datetime) -> Json:
    return {"process": process, "owner": new_id("claim"), "visibleAt": until}


def _free(visible_at: datetime) -> Json:
    return {"process": None, "owner": None, "current": None, "visibleAt": visible_at}


def _update_owned(db: Db, chunk: Chunk, update: Json) -> bool:
    query = {"_id": chunk.id, "owner": chunk.owner}
    return db[COLLECTION].update_one(query, update).matched_count == 1


def renew(db: Db, chunk: Chunk, lease: timedelta) -> bool:
    """Keep the claim for another `lease`; False when it was lost."""
    return _update_owned(db, chunk, {"$set": {"visibleAt": now() + lease}})


def release(db: Db, chunk: Chunk, *, ended: Sequence[StoredItem] = (), visible_at: datetime | None = None) -> bool:
    """Give the chunk back unharmed, to be claimed at once or from `visible_at` on, behind the `ended` items."""
    stored = [item.to_document() for item in ended]
    update = {"$set": {**_free(visible_at or now()), "ended": stored}, "$inc": {"attempts": -1}}
    return _update_owned(db, chunk, update)


def wake(db: Db, job_id: str, epoch: int) -> None:
    """Let the chunks of an epoch that nobody holds be claimed at once."""
    query = {"jobId": job_id, "epoch": epoch, "visibleAt": {"$gt": now()}}
    parked = [one["_id"] for one in db[COLLECTION].find(query, {"process": 1}) if one["process"] is None]
    for own_id in parked:
        db[COLLECTION].update_one({"_id": own_id, "owner": None}, {"$set": {"visibleAt": now()}})


def release_failed(db: Db, chunk: Chunk, reason: str, *, visible_at: datetime) -> bool:
    """Give a chunk back that could not be brought to its outcome, to be tried again from `visible_at` on."""
    update = {"$set": {**_free(visible_at), "reason": reason}, "$inc": {"attempts": -1, "failures": 1}}
    return _update_owned(db, chunk, update)


def note_reason(db: Db, chunk: Chunk, reason: str) -> bool:
    """Note what went wrong with a chunk that is left to its lease."""
    return _update_owned(db, chunk, {"$set": {"reason": reason}})


def mark(db: Db, chunk: Chunk, position: int | None) -> bool:
    """Note which item is about to be worked on; False when the claim was lost."""
    return _update_owned(db, chunk, {"$set": {"current": position}})


def blame(db: Db, chunk: Chunk, position: int) -> None:
    """Count a crash of the worker against the item that it was marked at."""
    _update_owned(db, chunk, {"$set": {"current": None}, "$inc": {f"crashes.{position}": 1}})


def give_up_hung(db: Db, chunk: Chunk, position: int) -> bool:
    """Note an item that hangs, and let another process take the chunk at once."""
    return _update_owned(db, chunk, {"$set": _free(now()), "$addToSet": {"hung": position}})


def free_dead(db: Db, process: str) -> int:
    """Let the chunks of a process that is known to be dead be claimed at once; return how many those were."""
    # The mark of the item that it died in stays: whoever takes the chunk over needs it.
    return (
        db[COLLECTION].update_many({"process": process}, {"$set": {"process": None, "visibleAt": now()}}).modified_count
    )


def delete(db: Db, chunk_id: str) -> None:
    """Delete a chunk that has its outcome."""
    db[COLLECTION].delete_one({"_id": chunk_id})


# Cancelling and looking after


@dataclass(frozen=True, kw_only=True)
class LiveChunk:
    """What a look at all live work shows of one chunk."""

    job_id: str
    queue: str
    visible_at: datetime | None
    process: str | None


def find_live(db: Db) -> list[LiveChunk]:
    """Return every chunk without an outcome, in one look."""
    found = db[COLLECTION].find({}, {"_id": 0, "jobId": 1, "queue": 1, "visibleAt": 1, "process": 1})
    return [
        LiveChunk(
            job_id=chunk["jobId"], queue=chunk["queue"], visible_at=chunk["visibleAt"], process=chunk.get("process")
        )
        for chunk in found
    ]


def claim_idle(db: Db, job_id: str, process: str, lease: timedelta) -> Chunk | None:
    """Take a chunk of a cancelled job that no worker holds; None when there is none."""
    moment = now()
    nobodys = [{"process": None, "visibleAt": {"$ne": None}}, {"visibleAt": {"$lte": moment}}]
    document = db[COLLECTION].find_one_and_update(
        {"jobId": job_id, "$or": nobodys},
        {"$set": _held_by(process, moment + lease)},
        return_document=ReturnDocument.AFTER,
    )
    return Chunk.from_document(document) if document else None


def delete_job(db: Db, job_id: str) -> None:
    """Delete what is left of a job that is gone."""
    db[COLLECTION].delete_many({"jobId": job_id})


def delete_epoch(db: Db, job_id: str, epoch: int) -> None:
    """Delete whatever is left of an epoch that has ended."""
    db[COLLECTION].delete_many({"jobId": job_id, "epoch": epoch})


def count_waiting(db: Db, queue: Queue, *, since: datetime) -> int:
    """Return how many chunks of `queue` have been claimable since then, and are still not claimed."""
    return db[COLLECTION].count_documents({"queue": queue.value, "visibleAt": {"$lte": since}})
