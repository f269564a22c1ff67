"""Reap: every few seconds, ring again for what a crash, an outage or a lost message left behind. Idempotent."""

from __future__ import annotations

import logging
from datetime import timedelta

from shared.broker import BrokerError, Queue, waiting_rings
from shared.clock import now
from shared.store import chunks, jobs
from workers.engine import doorbell
from workers.engine.process import WorkerProcess, is_dead

logger = logging.getLogger(__name__)

PLANS_PER_RING = 50
CONTROL_RINGS_MAX = 50
"""With more doorbells waiting for the control workers, ringing again would only lengthen the queue."""


def reap(process: WorkerProcess) -> None:
    """Look after dead processes, waiting chunks and jobs that nothing moves."""
    freed = _free_chunks_of_the_dead(process)
    # A chunk that became claimable only just now has its doorbell under way, but for those freed here.
    _ring_for_waiting_chunks(process, timedelta(0) if freed else process.settings.reap_interval / 2)
    _ring_for_still_jobs(process)
    _see_to_uncommitted(process)


def _free_chunks_of_the_dead(process: WorkerProcess) -> int:
    """Spare the chunks of this host's dead processes the wait for their leases to run out."""
    freed = 0
    for name in filter(is_dead, chunks.find_processes(process.db)):
        freed += chunks.free_dead(process.db, name)
        logger.warning("worker process %s has died: what it held is free again", name)
    return freed


def _ring_for_waiting_chunks(process: WorkerProcess, patience: timedelta) -> None:
    """Have as many doorbells in each queue as chunks that have waited in it for longer than `patience`."""
    for queue in Queue:
        waiting = chunks.count_waiting(process.db, queue, since=now() - patience)
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
    """Ring for the plan or the end of each job that nothing has changed for a while and no worker will."""
    if _is_control_busy():
        return
    live = chunks.find_live_jobs(process.db)
    still = jobs.find_active(process.db, untouched_since=now() - process.settings.reap_interval)
    to_plan = []
    for job in still:
        if job.id in live and not job.is_cut_short:
            continue  # a worker takes one of its chunks, and rings
        if job.is_laid_out:
            doorbell.ring_finish(job.id)
        else:
            to_plan.append(job.id)
    for start in range(0, len(to_plan), PLANS_PER_RING):
        doorbell.ring_plan(to_plan[start : start + PLANS_PER_RING], is_counting=True)


def _is_control_busy() -> bool:
    """Whether so many doorbells wait that the one for a still job may be among them."""
    try:
        return waiting_rings(Queue.CONTROL) > CONTROL_RINGS_MAX
    except BrokerError as error:
        logger.warning("could not look into queue %s: %s", Queue.CONTROL, error)
        return True


def _see_to_uncommitted(process: WorkerProcess) -> None:
    """Have a planner open or discard what one left behind that died, unless the job has ended meanwhile."""
    for job_id in chunks.find_uncommitted_jobs(process.db):
        job = jobs.find_without_request(process.db, job_id)
        if job is None:
            chunks.delete_job(process.db, job_id)
        elif job.status.is_final:
            chunks.delete_epoch(process.db, job_id, job.epoch)
        else:
            doorbell.ring_plan([job_id])
