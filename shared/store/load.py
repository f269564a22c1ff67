"""The load as MongoDB knows it, added up over all owners: what waits, what runs, how long nothing has moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import ASCENDING

from shared.broker import Queue
from shared.clock import now
from shared.model import Db, Json
from shared.store import chunks, jobs
from shared.store.job_record import ACTIVE, JobStatus


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """The chunks of one queue that nobody has taken."""

    queue: Queue
    chunks: int
    oldest: datetime | None  # since when the one that waits longest may be taken


@dataclass(frozen=True, kw_only=True)
class OpenJobs:
    """The unfinished jobs of one kind in one status."""

    kind: str
    status: JobStatus
    count: int
    oldest: datetime  # when the first of them was submitted
    stillest: datetime  # when that one last changed in which nothing has changed for longest


def waiting(db: Db) -> Sequence[Waiting]:
    """Return what waits in each queue."""
    return [_waiting_in(db, queue) for queue in Queue]


def _waiting_in(db: Db, queue: Queue) -> Waiting:
    moment = now()
    query = {"queue": queue.value, "visibleAt": {"$lte": moment}}
    first = db[chunks.COLLECTION].find(query, {"visibleAt": 1}).sort("visibleAt", ASCENDING).limit(1)
    oldest = next((chunk["visibleAt"] for chunk in first), None)
    return Waiting(
        queue=queue, chunks=0 if oldest is None else chunks.count_waiting(db, queue, since=moment), oldest=oldest
    )


def open_jobs(db: Db) -> Sequence[OpenJobs]:
    """Return the unfinished jobs by kind and status."""
    group: Json = {
        "_id": {"kind": "$kind", "status": "$status"},
        "count": {"$sum": 1},
        "oldest": {"$min": "$createdAt"},
        "stillest": {"$min": "$updatedAt"},
    }
    stages: list[Json] = [{"$match": {"status": {"$in": [status.value for status in ACTIVE]}}}, {"$group": group}]
    return [
        OpenJobs(
            kind=found["_id"]["kind"],
            status=JobStatus(found["_id"]["status"]),
            count=found["count"],
            oldest=found["oldest"],
            stillest=found["stillest"],
        )
        for found in db[jobs.COLLECTION].aggregate(stages)
    ]
