"""The `jobs` collection: one document per job, the outbox that every doorbell only points at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from shared.clock import now
from shared.errors import JobNotFound
from shared.items import ItemStatus
from shared.model import Db, Json
from shared.store import newest
from shared.store.job_record import (
    ACTIVE,
    PLANNABLE,
    WAITING,
    JobEnd,
    JobError,
    JobRecord,
    JobStatus,
    PaceMark,
    PlanState,
    Progress,
)
from shared.store.newest import newest_first

COLLECTION = "jobs"
NEWEST_FIRST = newest_first("createdAt")
DUPLICATE_KEY = 11000


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            # Without the time of the last change, which every chunk would move.
            IndexModel([("status", ASCENDING), ("owner", ASCENDING)]),
            IndexModel([("owner", ASCENDING), *NEWEST_FIRST]),
            IndexModel([("owner", ASCENDING), ("userId", ASCENDING), *NEWEST_FIRST]),
            # Compare-and-set by id and status, for servers that use an index only if it covers the whole filter.
            IndexModel([("_id", ASCENDING), ("status", ASCENDING)]),
            IndexModel([("_id", ASCENDING), ("epoch", ASCENDING), ("status", ASCENDING)]),
            IndexModel([("_id", ASCENDING), ("plan.token", ASCENDING)]),
            IndexModel("submissionKey", unique=True, sparse=True),
            IndexModel("expiresAt", expireAfterSeconds=0),
        ]
    )


def insert(db: Db, job: JobRecord) -> bool:
    """Store a new job; False when its id or idempotency key is taken already."""
    try:
        db[COLLECTION].insert_one(_document_of(job))
    except DuplicateKeyError:
        return False
    return True


def encoded(job: JobRecord) -> RawBSONDocument:
    """Return a new job as it goes to MongoDB, for `insert_together`. Raises `BSONError`, `OverflowError`."""
    return RawBSONDocument(bson.encode(_document_of(job)))


def insert_together(db: Db, jobs: Sequence[RawBSONDocument]) -> Mapping[int, OperationFailure]:
    """Store new jobs in one command; return what kept any from it, by its place: none hinders another.

    That is `DuplicateKeyError` when its id or idempotency key is taken already.
    """
    try:
        db[COLLECTION].insert_many(jobs, ordered=False)
    except BulkWriteError as error:
        if error.details["writeConcernErrors"]:
            raise
        return {found["index"]: _refusal(found) for found in error.details["writeErrors"]}
    return {}


def _refusal(found: Json) -> OperationFailure:
    kind = DuplicateKeyError if found["code"] == DUPLICATE_KEY else OperationFailure
    return kind(found["errmsg"], found["code"], found)


def _document_of(job: JobRecord) -> Json:
    document = job.to_document()
    if job.idempotency_key is not None:
        document["submissionKey"] = _submission_key(job.owner, job.user_id, job.idempotency_key)
    return document


def find(db: Db, job_id: str) -> JobRecord | None:
    """Return the job, or None."""
    document = db[COLLECTION].find_one({"_id": job_id})
    return JobRecord.from_document(document) if document else None


def get(db: Db, job_id: str) -> JobRecord:
    """Return the job. Raises `JobNotFound`."""
    job = find(db, job_id)
    if job is None:
        raise _not_found(job_id)
    return job


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"There is no job {job_id!r}.")


def get_owned(db: Db, owner: str, job_id: str) -> JobRecord:
    """Return the job if it is this owner's. Raises `JobNotFound`, in the same words where it is somebody else's."""
    # The owner is compared here: a second field in the filter would cost some servers their index.
    job = get(db, job_id)
    if job.owner != owner:
        raise _not_found(job_id)
    return job


def find_by_idempotency_key(db: Db, owner: str, user_id: str, key: str) -> JobRecord | None:
    """Return the job that this owner submitted for this user under this key, or None."""
    document = db[COLLECTION].find_one({"submissionKey": _submission_key(owner, user_id, key)})
    return JobRecord.from_document(document) if document else None


def _submission_key(owner: str, user_id: str, key: str) -> str:
    return f"{owner}\n{user_id}\n{key}"


def find_revisions(db: Db, job_ids: Sequence[str]) -> dict[str, int]:
    """Return the revision of each of these jobs that exists."""
    found = db[COLLECTION].find({"_id": {"$in": list(job_ids)}}, {"revision": 1})
    return {document["_id"]: document["revision"] for document in found}


def find_without_requests(db: Db, job_ids: Sequence[str]) -> list[JobRecord]:
    """Return those of these jobs that exist, without their requests, which may be large."""
    return [_bare(document) for document in db[COLLECTION].find({"_id": {"$in": list(job_ids)}}, {"request": 0})]


def find_without_request(db: Db, job_id: str) -> JobRecord | None:
    """Return the job without its request, or None."""
    document = db[COLLECTION].find_one({"_id": job_id}, {"request": 0})
    return _bare(document) if document else None


def _bare(document: Json) -> JobRecord:
    return JobRecord.from_document({**document, "request": {}})


def page(
    db: Db,
    *,
    owner: str,
    user_id: str | None = None,
    kind: str | None = None,
    status: Sequence[JobStatus] = (),
    limit: int,
    after: str | None = None,
) -> tuple[list[JobRecord], str | None]:
    """Return one page of an owner's jobs, newest first, and the cursor of the next page. Raises `InvalidCursor`."""
    query: Json = {"owner": owner}
    if user_id is not None:
        query["userId"] = user_id
    if kind is not None:
        query["kind"] = kind
    if status:
        query["status"] = {"$in": [one.value for one in status]}
    found, cursor = newest.page(
        db[COLLECTION], query, field="createdAt", limit=limit, after=after, projection={"request": 0}
    )
    return [_bare(document) for document in found], cursor


def _set(db: Db, query: Json, changes: Json, increments: Mapping[str, float] | None = None) -> bool:
    """Update one job and its revision; False when no job fits `query`."""
    update = {"$set": {"updatedAt": now(), **changes}, "$inc": {"revision": 1, **(increments or {})}}
    return db[COLLECTION].update_one(query, update).matched_count == 1


# Planning


def begin_planning(db: Db, job_id: str, token: str, lease: timedelta) -> JobRecord | None:
    """Take the plan of an unfinished job for `lease`; None when it has ended, waits, or somebody else plans."""
    job = find(db, job_id)
    if job is None or job.status not in PLANNABLE:
        return None
    if job.plan.until is not None and job.plan.until > now():
        return None
    if job.status is JobStatus.WAITING_QUOTA and job.resumes_at is not None and job.resumes_at > now():
        return None
    query = {"_id": job_id, "plan.token": job.plan.token}
    hold = {"$set": {"plan.token": token, "plan.until": now() + lease}}
    if db[COLLECTION].update_one(query, hold).matched_count == 0:
        return None
    if job.status is JobStatus.QUEUED:
        start = {"status": JobStatus.RUNNING.value, "startedAt": now()}
        _set(db, {"_id": job_id, "status": JobStatus.QUEUED.value}, start)
    return find(db, job_id)


def renew_plan(db: Db, job_id: str, token: str, lease: timedelta) -> bool:
    """Keep the plan for another `lease`; False when it was lost."""
    query = {"_id": job_id, "plan.token": token}
    return db[COLLECTION].update_one(query, {"$set": {"plan.until": now() + lease}}).matched_count == 1


def save_plan(db: Db, job_id: str, plan: PlanState, *, total: int, total_is_exact: bool) -> bool:
    """Store how far the plan is; False when this planner's lease was taken over or the job was cancelled."""
    stored = db[COLLECTION].find_one({"_id": job_id}, {"cancelRequestedAt": 1})
    if stored is None or stored.get("cancelRequestedAt") is not None:
        return False
    changes: Json = {
        "plan": plan.to_document(),
        "progress.total": total,
        "progress.totalIsExact": total_is_exact,
    }
    return _set(db, {"_id": job_id, "plan.token": plan.token}, changes)


def give_up_plan(db: Db, job_id: str, token: str, error: JobError) -> bool:
    """Note why nothing more can be laid out; what is laid out ends. False when this planner's lease was lost."""
    return _set(db, {"_id": job_id, "plan.token": token}, {"planError": error.to_document()})


def end_planning(db: Db, job_id: str, token: str) -> None:
    """Let go of the plan."""
    changes = {"$set": {"plan.token": None, "plan.until": None}}
    db[COLLECTION].update_one({"_id": job_id, "plan.token": token}, changes)


# Running


def add_progress(
    db: Db,
    job_id: str,
    epoch: int,
    counts: Mapping[ItemStatus, int],
    busy_seconds: float,
    *,
    marks: Sequence[PaceMark] | None = None,
) -> None:
    """Add one chunk to the counts that are shown while this epoch runs, and keep other marks of its pace if given."""
    increments = {f"progress.{status.value}": count for status, count in counts.items() if count}
    query = {"_id": job_id, "epoch": epoch, "status": {"$in": [status.value for status in ACTIVE]}}
    changes: Json = {} if marks is None else {"marks": [mark.to_document() for mark in marks]}
    _set(db, query, changes, {"progress.busySeconds": busy_seconds, **increments})


def note_work_error(db: Db, job_id: str, epoch: int, error: JobError) -> None:
    """Note why a chunk of this epoch was given up, for the job's end."""
    _set(db, {"_id": job_id, "epoch": epoch}, {"workError": error.to_document()})


def request_cancel(db: Db, job_id: str) -> bool:
    """Ask for a job to be stopped; False when it has ended."""
    query = {"_id": job_id, "status": {"$in": [status.value for status in ACTIVE]}}
    return _set(db, query, {"cancelRequestedAt": now()})


def is_cancelled(db: Db, job_id: str) -> bool:
    """Whether nobody should start another item of this job."""
    document = db[COLLECTION].find_one({"_id": job_id}, {"cancelRequestedAt": 1})
    return document is None or document.get("cancelRequestedAt") is not None


def wait_for_quota(db: Db, job_id: str, resumes_at: datetime) -> None:
    """Show that a running job waits for an outside budget until `resumes_at`."""
    query = {"_id": job_id, "status": {"$in": [JobStatus.RUNNING.value, JobStatus.WAITING_QUOTA.value]}}
    _set(db, query, {"status": JobStatus.WAITING_QUOTA.value, "resumesAt": resumes_at})


def wait_for_input(db: Db, job_id: str) -> None:
    """Show that a running job waits for an answer."""
    query = {"_id": job_id, "status": {"$in": [JobStatus.RUNNING.value, JobStatus.WAITING_INPUT.value]}}
    _set(db, query, {"status": JobStatus.WAITING_INPUT.value})


def resume(db: Db, job_id: str) -> None:
    """Show that a job that waited for an outside budget or an answer runs again."""
    query = {"_id": job_id, "status": {"$in": [status.value for status in WAITING]}}
    _set(db, query, {"status": JobStatus.RUNNING.value, "resumesAt": None})


# Finishing


def begin_finalising(db: Db, job_id: str, epoch: int) -> bool:
    """Move an epoch on to its totals; True also when a finisher before us died on the way."""
    query = {"_id": job_id, "epoch": epoch, "status": {"$in": [status.value for status in ACTIVE]}}
    return _set(db, query, {"status": JobStatus.FINALISING.value}, {"finishes": 1})


def finish(
    db: Db,
    job_id: str,
    epoch: int,
    *,
    status: JobStatus,
    progress: Progress,
    summary: Json | None,
    error: JobError | None,
    expires_at: datetime,
    followed_by: str | None = None,
) -> bool:
    """End a finalising epoch; False when another finisher was first."""
    moment = now()
    changes: Json = {
        "status": status.value,
        "progress": progress.to_document(),
        "summary": summary,
        "error": error.to_document() if error else None,
        "resumesAt": None,
        "followedBy": followed_by,
        "finishedAt": moment,
        "expiresAt": expires_at,
        "plan.token": None,
        "plan.until": None,
    }
    return _set(db, {"_id": job_id, "epoch": epoch, "status": JobStatus.FINALISING.value}, changes)


def reopen(db: Db, job: JobRecord, plan: PlanState, progress: Progress, traceparent: str | None = None) -> bool:
    """Queue a finished job for another epoch, in the trace of a `traceparent`; False when somebody else has done so."""
    query = {"_id": job.id, "epoch": job.epoch, "status": job.status.value}
    changes: Json = {
        "status": JobStatus.QUEUED.value,
        "epoch": job.epoch + 1,
        "firstEnd": (job.first_end or JobEnd(status=job.status, error=job.error)).to_document(),
        "plan": plan.to_document(),
        "progress": progress.to_document(),
        "planError": None,
        "workError": None,
        "marks": [],
        "finishes": 0,
        "traceparent": traceparent,
        "summary": None,
        "error": None,
        "followedBy": None,
        "cancelRequestedAt": None,
        "startedAt": None,
        "finishedAt": None,
        "expiresAt": None,
    }
    return _set(db, query, changes)


# Looking after


def find_active(db: Db, *, untouched_since: datetime) -> list[JobRecord]:
    """Return the unfinished jobs that nothing has changed since then, without their requests."""
    # The time is looked at here: an index serves a choice or a range, but not both together everywhere.
    found = db[COLLECTION].find({"status": {"$in": [status.value for status in ACTIVE]}}, {"request": 0})
    return [_bare(document) for document in found if document["updatedAt"] <= untouched_since]


def count_by_status(db: Db, owner: str) -> dict[str, int]:
    """Return how many jobs of an owner there are in each status."""
    stages: list[Json] = [{"$match": {"owner": owner}}, {"$group": {"_id": "$status", "jobs": {"$sum": 1}}}]
    return {group["_id"]: group["jobs"] for group in db[COLLECTION].aggregate(stages)}


def count_open(db: Db, owner: str, *, limit: int) -> int:
    """Return how many unfinished jobs an owner has, counted up to `limit`."""
    # A count for each status, for servers that use an index only if it covers the whole filter; by the command of that
    # name, which is cheaper than the aggregation that `count_documents` is.
    counted = 0
    for status in ACTIVE:
        query = {"status": status.value, "owner": owner}
        counted += int(db.command("count", COLLECTION, query=query, limit=limit)["n"])
    return min(counted, limit)


def find_owned(db: Db, owner: str, job_ids: Sequence[str]) -> set[str]:
    """Return which of these jobs are this owner's."""
    found = db[COLLECTION].find({"_id": {"$in": list(job_ids)}}, {"owner": 1})
    return {document["_id"] for document in found if document["owner"] == owner}


def delete(db: Db, job_id: str) -> Any:
    """Delete a job document."""
    return db[COLLECTION].delete_one({"_id": job_id})


def owners(db: Db) -> list[str]:
    """Return every owner that has a job."""
    return [str(owner) for owner in db[COLLECTION].distinct("owner")]
