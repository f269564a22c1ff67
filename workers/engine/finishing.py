"""Finish: draw up the totals from the outcomes, sum the job up, and end it. A repeat gives the same."""

from __future__ import annotations

import logging
from collections import Counter

from shared.items import ItemStatus
from shared.jobs import get_kind
from shared.jobs.job import JobContext
from shared.model import Db, Json
from shared.store import chunks, jobs, outcomes, paces
from shared.store.jobs import JobError, JobRecord, JobStatus, Progress
from workers.engine.process import WorkerProcess
from workers.engine.recording import CANCELLED, record

logger = logging.getLogger(__name__)


def finish(job_id: str, process: WorkerProcess) -> None:
    """End the job if all its items have their outcome; otherwise leave it as it is."""
    db = process.db
    job = jobs.find(db, job_id)
    if job is None or job.status.is_final:
        return
    is_cancelled = job.cancel_requested_at is not None
    if is_cancelled:
        _record_idle_as_cancelled(job, process)
    if chunks.count_live(db, job.id, job.epoch) or not (job.plan.is_complete or is_cancelled):
        return
    if not jobs.begin_finalising(db, job_id):
        return
    progress = exact_progress(db, job)
    summary = _summarise(job, progress, process)
    status = final_status(progress, is_cancelled=is_cancelled)
    ended = jobs.finish(
        db,
        job_id,
        status=status,
        progress=progress,
        summary=summary,
        error=_error_of(job, progress, status),
        ttl=process.settings.job_ttl,
    )
    chunks.delete_all(db, job_id)
    if ended:
        logger.info("%s %s: %s", job.kind, job_id, status)
        _remember_pace(db, job, progress)


def final_status(progress: Progress, *, is_cancelled: bool) -> JobStatus:
    """Return how a job with these exact counts has ended."""
    good = progress.succeeded + progress.cached
    if is_cancelled and (good < progress.total or progress.total == 0):
        return JobStatus.CANCELLED
    if good == progress.total:
        return JobStatus.SUCCEEDED
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
        total=max(job.plan.items, job.plan.counted),
        total_is_exact=job.plan.exhausted or job.plan.counted_all,
        busy_seconds=round(busy_seconds, 3),
        **{status.value: counts[status] for status in ItemStatus},
    )


def _record_idle_as_cancelled(job: JobRecord, process: WorkerProcess) -> None:
    """Give the chunks of a cancelled job that no worker holds their outcome."""
    while chunk := chunks.claim_idle(process.db, job.id, process.name, process.settings.lease):
        record(process, chunk, [CANCELLED] * len(chunk.items), busy_seconds=0.0)


def _summarise(job: JobRecord, progress: Progress, process: WorkerProcess) -> Json:
    kind = get_kind(job.kind)
    context = JobContext(job_id=job.id, owner=job.owner, epoch=job.epoch, db=process.db, settings=process.settings)
    counts = Counter({status: getattr(progress, status.value) for status in ItemStatus})
    return kind.summarise(kind.request.model_validate(job.request), counts, context).to_json()


def _error_of(job: JobRecord, progress: Progress, status: JobStatus) -> JobError | None:
    """Return why a job is not whole, where its counts alone don't say it."""
    if status is JobStatus.FAILED and progress.failed:
        return JobError(code="all_items_failed", message=f"None of the {progress.total:,} items could be worked on.")
    if status is JobStatus.CANCELLED or progress.done == progress.total:
        return None
    missing = progress.total - progress.done
    logger.error("%s ended with %d items that have no outcome", job.id, missing)
    return JobError(code="items_lost", message=f"{missing:,} items have no outcome: retry the job.")


def _remember_pace(db: Db, job: JobRecord, progress: Progress) -> None:
    worked = progress.succeeded + progress.failed
    if worked and job.epoch == 0:
        paces.save(db, job.kind, progress.busy_seconds / worked)
