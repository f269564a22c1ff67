"""Finish: draw up the totals from the outcomes, sum the job up, and end it. A repeat gives the same."""

from __future__ import annotations

import logging
from collections import Counter

from shared import logs, tracing
from shared.clock import now
from shared.errors import in_words
from shared.items import ItemStatus
from shared.jobs import get_kind
from shared.jobs.job import JobContext
from shared.lifecycle import submit, validate_request
from shared.model import Db, Json
from shared.store import chunks, jobs, outcomes, paces
from shared.store.database import StoreError
from shared.store.job_record import JobError, JobRecord, JobStatus, Progress
from workers.engine import counting, doorbell
from workers.engine.process import WorkerProcess
from workers.engine.recording import CANCELLED, record, rest_as

logger = logging.getLogger(__name__)

SUMMARIES_MAX = 3
"""So often a summary is tried that MongoDB can't answer in time."""


def finish(job_id: str, process: WorkerProcess) -> None:
    """End the job if all its items have their outcome; otherwise leave it as it is."""
    job = jobs.find(process.db, job_id)
    if job is None or job.status.is_final or not job.is_laid_out:
        return
    with logs.about(job=job.id, owner=job.owner, request=job.request_id):
        _finish(job, process)


def _finish(job: JobRecord, process: WorkerProcess) -> None:
    db = process.db
    if job.is_cut_short:
        _record_idle_as_cancelled(job, process)
    if chunks.count_live(db, job.id, job.epoch) or not jobs.begin_finalising(db, job.id, job.epoch):
        return
    with tracing.span(f"finish {job.kind}", within=job.traceparent, backline_job_id=job.id):
        _bring_to_end(job, process)


def _bring_to_end(job: JobRecord, process: WorkerProcess) -> None:
    db = process.db
    progress = exact_progress(db, job)
    status = final_status(progress, is_cancelled=job.cancel_requested_at is not None, is_whole=job.plan.is_complete)
    summary, summary_error = _summarise(job, progress, process)
    follower = _follow_up(job, status, process)
    expires_at = now() + process.settings.job_ttl
    if job.epoch:
        outcomes.keep_until(db, job.id, expires_at + process.settings.job_ttl)
    ended = jobs.finish(
        db,
        job.id,
        job.epoch,
        status=status,
        progress=progress,
        summary=summary,
        error=job.plan_error or _work_error(db, job, progress) or _error_of(job, progress, status) or summary_error,
        followed_by=follower,
        expires_at=expires_at,
    )
    if ended:
        logger.info("%s %s: %s", job.kind, job.id, status)
        counting.job_ended(job, status.value, (now() - job.created_at).total_seconds())
        chunks.delete_epoch(db, job.id, job.epoch)
        _remember_pace(db, job, progress)
        if follower is not None:
            doorbell.ring_plan([follower])


def final_status(progress: Progress, *, is_cancelled: bool, is_whole: bool) -> JobStatus:
    """Return how a job with these exact counts has ended; `is_whole` tells whether all of it was laid out."""
    good = progress.succeeded + progress.cached
    if is_whole and good == progress.total:
        return JobStatus.SUCCEEDED
    if is_cancelled:
        return JobStatus.CANCELLED
    return JobStatus.PARTIAL if good else JobStatus.FAILED


def exact_progress(db: Db, job: JobRecord) -> Progress:
    """Return the counts of a job over all its epochs, each item counted once, from the outcomes alone."""
    counts: Counter[ItemStatus] = Counter()
    busy_seconds = 0.0
    for epoch in range(job.epoch + 1):
        here, _, seconds = outcomes.totals(db, job.id, epoch)
        busy_seconds += seconds
        counts.update(here if epoch == job.epoch else {status: here[status] for status in here if status.is_good})
    for source in job.plan.sources:
        left = outcomes.iterate_retriable(
            db, job.id, source.epoch, chunks=source.chunks, n=source.n, place=source.place
        )
        counts.update(item.status for _, _, item in left)
    return Progress(
        total=job.plan.total,
        total_is_exact=job.plan.exhausted or job.plan.counted_all,
        busy_seconds=round(busy_seconds, 3),
        **{status.value: counts[status] for status in ItemStatus},
    )


def _record_idle_as_cancelled(job: JobRecord, process: WorkerProcess) -> None:
    """Give the chunks of a cancelled job that no worker holds their outcome."""
    while chunk := chunks.claim_idle(process.db, job.id, process.name, process.settings.lease):
        record(process, chunk, rest_as(chunk, CANCELLED), busy_seconds=0.0)


def _summarise(job: JobRecord, progress: Progress, process: WorkerProcess) -> tuple[Json | None, JobError | None]:
    """Return the kind's summary, or why there is none: it must not keep the job from its end."""
    if job.finishes >= SUMMARIES_MAX:
        return None, JobError(code="summary_failed", message="The summary could not be drawn up in time.")
    context = JobContext.of(job, process.db, process.settings)
    counts = Counter({status: getattr(progress, status.value) for status in ItemStatus})
    try:
        kind = get_kind(job.kind)
        return kind.summarise(kind.request.model_validate(job.request), counts, context).to_json(), None
    except StoreError:
        raise
    except Exception as error:  # a kind's boundary: it is recorded, and must not keep the job from its end
        logger.exception("%s could not be summed up", job.id)
        return None, JobError(code="summary_failed", message=f"The summary failed with {in_words(error)}")


def _follow_up(job: JobRecord, status: JobStatus, process: WorkerProcess) -> str | None:
    """Submit the job that comes after this one, and return its id, which is always the same; None where none does."""
    if status not in (JobStatus.SUCCEEDED, JobStatus.PARTIAL):
        return None
    try:
        kind = get_kind(job.kind)
        context = JobContext.of(job, process.db, process.settings)
        following = kind.follow_up(kind.request.model_validate(job.request), context)
        if following is None:
            return None
        next_kind = get_kind(following.kind)
        request = validate_request(next_kind, {"userId": job.user_id, **following.request})
        submit(process.db, next_kind, request, owner=job.owner, job_id=(job_id := f"{job.id}-next-{job.epoch}"))
    except StoreError:
        raise
    except Exception:  # a kind's boundary: it is logged, and must not keep the job from its end
        logger.exception("no job could be submitted to follow %s", job.id)
        return None
    return job_id


def _work_error(db: Db, job: JobRecord, progress: Progress) -> JobError | None:
    """Return why chunks were given up, as it was noted last: perhaps only since the job was read."""
    if not progress.failed:
        return None
    latest = jobs.find_without_request(db, job.id)
    return latest.work_error if latest else None


def _error_of(job: JobRecord, progress: Progress, status: JobStatus) -> JobError | None:
    """Return why a job is not whole, where its counts alone don't say it."""
    if status is JobStatus.FAILED and progress.failed:
        return JobError(code="all_items_failed", message=f"None of the {progress.total:,} items could be worked on.")
    missing = progress.total - progress.done - progress.cancelled
    if status is JobStatus.CANCELLED or missing == 0:
        return None
    logger.error("%s ended with %d items that have no outcome", job.id, missing)
    return JobError(code="items_lost", message=f"{missing:,} items have no outcome: retry the job.")


def _remember_pace(db: Db, job: JobRecord, progress: Progress) -> None:
    worked = progress.succeeded + progress.failed
    if worked and job.epoch == 0:
        paces.save(db, job.kind, progress.busy_seconds / worked)
