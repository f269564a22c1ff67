"""What the outside may do to a job: submit, cancel, retry. Each is durable before it answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from shared import logs, tracing
from shared.access import DEFAULT_OWNER
from shared.clock import new_id, now
from shared.errors import (
    IdempotencyConflict,
    InvalidRequest,
    JobFinished,
    JobNotFinished,
    NothingAsked,
    NothingToRetry,
    WrongPlan,
)
from shared.items import ItemStatus
from shared.jobs import known_kinds
from shared.jobs.database_repair import APPROVE
from shared.jobs.job import JobKind, JobRequest
from shared.model import Db, Json
from shared.store import chunks, jobs, outcomes, questions, repairs
from shared.store.database import library
from shared.store.job_record import JobRecord, JobStatus, Progress, RetrySource

ADDED = re.compile(r"[\w-]*\[.*\]")
"""What pydantic adds to a place of its own: `[key]` for a name that can't be one, `tuple[int, ...]` for a form."""


def validate_request(kind: JobKind, body: Mapping[str, Any]) -> JobRequest:
    """Return the request that `body` holds. Raises `InvalidRequest`, which names the fields that are wrong."""
    try:
        return kind.request.model_validate(body)
    except ValidationError as error:
        raise invalid_request([(one["loc"], one["msg"]) for one in error.errors()]) from None


def invalid_request(found: Sequence[tuple[Sequence[int | str], str]]) -> InvalidRequest:
    """Return the error for what pydantic found at some places of a request, in the same words at every door."""
    fields = [(_named(place), message.removeprefix("Value error, ")) for place, message in found]
    parts = "; ".join(f"{name}: {message}" for name, message in fields)
    return InvalidRequest(f"The request is not valid: {parts}.", fields=fields)


def _named(place: Sequence[int | str]) -> str:
    return ".".join(part for part in map(str, place) if not ADDED.fullmatch(part)) or "request"


def new_job(
    kind: JobKind,
    request: JobRequest,
    *,
    owner: str = DEFAULT_OWNER,
    idempotency_key: str | None = None,
    job_id: str | None = None,
    schedule: str | None = None,
) -> JobRecord:
    """Return a job that is not stored yet, of the log's present request and the present trace."""
    moment = now()
    return JobRecord(
        id=job_id or new_id("job"),
        kind=kind.name,
        owner=owner,
        user_id=request.user_id,
        request=request.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        idempotency_key=idempotency_key,
        request_id=logs.current("request"),
        traceparent=tracing.traceparent(),
        schedule=schedule,
        created_at=moment,
        updated_at=moment,
    )


def submit(
    db: Db,
    kind: JobKind,
    request: JobRequest,
    *,
    owner: str = DEFAULT_OWNER,
    idempotency_key: str | None = None,
    job_id: str | None = None,
    schedule: str | None = None,
) -> tuple[JobRecord, bool]:
    """Store a job and return it, and whether it is new; the caller rings for it afterwards.

    With an idempotency key (or a fixed `job_id`) that was used before, the first job is returned. Raises
    `IdempotencyConflict` when the key came with another request then.
    """
    job = new_job(kind, request, owner=owner, idempotency_key=idempotency_key, job_id=job_id, schedule=schedule)
    return (job, True) if jobs.insert(db, job) else (first_of(db, job), False)


def first_of(db: Db, job: JobRecord) -> JobRecord:
    """Return the job that was there before `job`, under its id or its idempotency key.

    Raises `IdempotencyConflict` when the key came with another request then.
    """
    if job.idempotency_key is None:
        return jobs.get(db, job.id)
    first = jobs.find_by_idempotency_key(db, job.owner, job.user_id, job.idempotency_key)
    if first is None:
        return jobs.get(db, job.id)
    if (first.kind, first.request) != (job.kind, job.request):
        raise IdempotencyConflict(f"The key {job.idempotency_key!r} belongs to {first.id}, a different request.")
    return first


def cancel(db: Db, job_id: str, *, owner: str = DEFAULT_OWNER) -> JobRecord:
    """Ask for a job to be stopped: no new item starts within seconds, what is done stands.

    Cancelling a cancelled job changes nothing. Raises `JobNotFound`, `JobFinished`.
    """
    jobs.get_owned(db, owner, job_id)
    if not jobs.request_cancel(db, job_id):
        job = jobs.get(db, job_id)
        if job.status is not JobStatus.CANCELLED:
            raise JobFinished(f"Job {job_id} has ended: {job.status.value}.")
    return jobs.get(db, job_id)


def answer(db: Db, job_id: str, key: str, content: Mapping[str, Any], *, owner: str = DEFAULT_OWNER) -> JobRecord:
    """Answer what a job has asked, and let it go on. Raises `JobNotFound`, `NothingAsked`."""
    job = jobs.get_owned(db, owner, job_id)
    asked = {one.key: one for one in questions.open_questions(db, job_id) if one.epoch == job.epoch}
    if job.status.is_final or key not in asked or not questions.answer(db, asked[key], content):
        raise NothingAsked(f"Job {job_id} waits for no answer to {key!r}.")
    jobs.resume(db, job_id)
    chunks.wake(db, job_id, job.epoch)
    return jobs.get(db, job_id)


def approve(db: Db, job_id: str, plan_hash: str, *, owner: str = DEFAULT_OWNER) -> JobRecord:
    """Approve the plan of a repair that waits for it. Raises `JobNotFound`, `NothingAsked`, `WrongPlan`."""
    jobs.get_owned(db, owner, job_id)
    plan = repairs.find_plan(library(db, owner), job_id)
    if plan is not None and plan.hash != plan_hash:
        raise WrongPlan(f"The plan of {job_id} has the hash {plan.hash}.")
    return answer(db, job_id, APPROVE, {"action": "accept", "content": {"planHash": plan_hash}}, owner=owner)


def retry(db: Db, job_id: str, *, owner: str = DEFAULT_OWNER) -> JobRecord:
    """Queue a finished job again for what failed or was not reached; what is good stands.

    Raises `JobNotFound`, `JobNotFinished`, `NothingToRetry`.
    """
    job = jobs.get_owned(db, owner, job_id)
    if not job.status.is_final:
        raise JobNotFinished(f"Job {job_id} is {job.status.value}.")
    if job.status is JobStatus.SUCCEEDED:
        raise NothingToRetry(f"Every item of job {job_id} succeeded.")
    plan = job.plan.model_copy(
        update={
            "chunks": 0,
            "sources": (RetrySource(epoch=job.epoch, chunks=job.plan.chunks), *job.plan.sources),
            "token": None,
            "until": None,
        }
    )
    if not jobs.reopen(db, job, plan, _progress_of_retry(db, job), tracing.traceparent()):
        raise JobNotFinished(f"Job {job_id} was changed by somebody else at the same moment.")
    return jobs.get(db, job_id)


def _progress_of_retry(db: Db, job: JobRecord) -> Progress:
    """Return what stands: neither what failed, nor the steps that are to be repeated with it."""
    taken = _take_back_steps(db, job)
    stands = {status.value: getattr(job.progress, status.value) - count for status, count in taken.items()}
    return job.progress.model_copy(update={"failed": 0, "cancelled": 0, **stands})


def _take_back_steps(db: Db, job: JobRecord) -> Counter[ItemStatus]:
    kind = known_kinds().get(job.kind)
    if kind is None or not kind.steps_again:
        return Counter()
    first = next(outcomes.iterate_retriable(db, job.id, job.epoch, chunks=job.plan.chunks), None)
    if first is None:
        return Counter()
    _, _, failed = first
    return outcomes.take_back(db, job.id, job.epoch, behind=failed.index, step=partial(_is_step, kind))


def _is_step(kind: JobKind, item: Json) -> bool:
    return kind.last_step(kind.item.model_validate(item)) is not None
