"""Reap: every few seconds, ring again for what a crash, an outage or a lost message left behind. Idempotent."""

from __future__ import annotations

import logging
from datetime import timedelta

from shared.broker import BrokerError, Queue, waiting_rings
from shared.clock import now
from shared.store import chunks, jobs
from shared.store.jobs import JobRecord, JobStatus
from workers.engine import doorbell
from workers.engine.process import WorkerProcess, is_dead

logger = logging.getLogger(__name__)


def reap(process: WorkerProcess) -> None:
    """Look after dead processes, waiting chunks and jobs that nothing moves."""
    _free_chunks_of_the_dead(process)
    _ring_for_waiting_chunks(process)
    _ring_for_still_jobs(process)
    _delete_leftovers(process)


def _free_chunks_of_the_dead(process: WorkerProcess) -> None:
    """Spare the chunks of this host's dead processes the wait for their leases to run out."""
    for name in chunks.find_processes(process.db):
        if is_dead(name):
            freed = chunks.free_dead(process.db, name)
            logger.warning("process %s has died: %d chunks are free again", name, freed)


def _ring_for_waiting_chunks(process: WorkerProcess) -> None:
    """Have as many doorbells in each queue as chunks that wait in it."""
    since = now() - timedelta(seconds=process.settings.reap_seconds / 2)
    for queue in Queue:
        waiting = chunks.count_waiting(process.db, queue, since=since)
        if waiting:
            _top_up(queue, waiting)


def _top_up(queue: Queue, waiting: int) -> None:
    try:
        missing = waiting - waiting_rings(queue)
    except BrokerError as error:
        logger.warning("could not look into queue %s: %s", queue, error)
        return
    if missing > 0:
        logger.info("ringing %d times again on %s", missing, queue)
        doorbell.ring_run(queue, missing)


def _ring_for_still_jobs(process: WorkerProcess) -> None:
    """Ring for the plan or the end of each job that nothing has changed for a while."""
    still = list(jobs.find_active(process.db, untouched_since=now() - timedelta(seconds=process.settings.reap_seconds)))
    to_plan = [job.id for job in still if job.status is not JobStatus.FINALISING and not _is_waiting_for_end(job)]
    for start in range(0, len(to_plan), 100):
        doorbell.ring_plan(to_plan[start : start + 100])
    for job in still:
        if job.status is JobStatus.FINALISING or _is_waiting_for_end(job):
            doorbell.ring_finish(job.id)


def _is_waiting_for_end(job: JobRecord) -> bool:
    return job.plan.is_complete or job.cancel_requested_at is not None


def _delete_leftovers(process: WorkerProcess) -> None:
    """Delete chunks that a planner laid out for a job that has ended meanwhile."""
    for job_id in chunks.find_uncommitted_jobs(process.db):
        job = jobs.find(process.db, job_id)
        if job is None or job.status.is_final:
            chunks.delete_all(process.db, job_id)
