"""How fast a job goes, and how long the rest of it takes."""

from __future__ import annotations

from datetime import timedelta

from shared.clock import now
from shared.store.job_record import JobRecord, JobStatus

PACE_WINDOW = timedelta(seconds=8)
"""A pace is taken over at least so long where the job has been running for so long."""


def items_per_second(job: JobRecord) -> float | None:
    """Return the mean pace since the start, None before it and after a retry."""
    # The record does not say when a retry began, and its counts hold what was done before: no guess then.
    if job.started_at is None or job.epoch > 0 or job.progress.done == 0:
        return None
    seconds = ((job.finished_at or now()) - job.started_at).total_seconds()
    return job.progress.done / seconds if seconds > 0 else None


def eta_seconds(job: JobRecord) -> float | None:
    """Return how long the rest takes at the present pace.

    What was known already is passed over in no time, mostly in front of what is new: a pace that goes back to the
    job's start says nothing then.
    """
    progress, moment = job.progress, now()
    if job.status is not JobStatus.RUNNING or job.is_cut_short or not progress.total_is_exact:
        return None
    settled = [mark for mark in job.marks if moment - mark.at >= PACE_WINDOW]
    mark = settled[-1] if settled else next(iter(job.marks), None)
    if mark is None or progress.done <= mark.done or (progress.cached and mark is job.marks[0] and not mark.done):
        return None
    seconds = (moment - mark.at).total_seconds()
    return round(max(progress.total - progress.done, 0) * seconds / (progress.done - mark.done), 1)
