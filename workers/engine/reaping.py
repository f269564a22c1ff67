"""Reap: every few seconds, ring again for what a crash, an outage or a lost message left behind. Idempotent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Sequence

from shared.broker import BrokerError, Queue, waiting_rings
from shared.clock import now
from shared.store import chunks, jobs
from shared.store.chunks import LiveChunk
from workers.engine import counting, doorbell
from workers.engine.process import WorkerProcess, is_dead

logger = logging.getLogger(__name__)

PLANS_PER_RING = 50
CONTROL_RINGS_MAX = 50
"""With more doorbells waiting for the control workers, ringing again would only lengthen the queue."""


def reap(process: WorkerProcess) -> None:
    """Look after dead processes, waiting chunks and jobs that nothing moves."""
    counting.reaper_did(counting.LOOKED)
    live = chunks.find_live(process.db)
    dead = _free_chunks_of_the_dead(process, live)
    _ring_for_waiting_chunks(process, live, dead)
    _ring_for_still_jobs(process, live)
    _see_to_uncommitted(process, live)


def _free_chunks_of_the_dead(process: WorkerProcess, live: Sequence[LiveChunk]) -> set[str]:
    """Spare the chunks of this host's dead processes the wait for their leases to run out; return those processes."""
    dead = {name for name in {chunk.process for chunk in live} if name is not None and is_dead(name)}
    for name in dead:
        chunks.free_dead(process.db, name)
        counting.reaper_did(counting.FREED)
        logger.warning("worker process %s has died: what it held is free again", name)
    return dead


def _ring_for_waiting_chunks(process: WorkerProcess, live: Sequence[LiveChunk], dead: Container[str | None]) -> None:
    """Have as many doorbells in each queue as chunks that wait in it."""
    # A chunk that became claimable only just now has its doorbell under way.
    since = now() - process.settings.reap_interval / 2
    waiting = Counter(
        chunk.queue
        for chunk in live
        if chunk.process in dead or (chunk.visible_at is not None and chunk.visible_at <= since)
    )
    for queue in Queue:
        if waiting[queue]:
            _top_up(queue, waiting[queue])


def _top_up(queue: Queue, waiting: int) -> None:
    try:
        missing = waiting - waiting_rings(queue)
    except BrokerError as error:
        logger.warning("could not look into queue %s: %s", queue, error)
        return
    if missing > 0:
        logger.info("ringing %d times again on %s", missing, queue)
        counting.reaper_did(counting.RANG_CHUNKS, missing)
        doorbell.ring_run(queue, missing)


def _ring_for_still_jobs(process: WorkerProcess, live: Sequence[LiveChunk]) -> None:
    """Ring for the plan or the end of each job that nothing has changed for a while and no worker will."""
    moved = {chunk.job_id for chunk in live}  # a worker takes one of its chunks, and rings
    found = jobs.find_active(process.db, untouched_since=now() - process.settings.reap_interval)
    still = [job for job in found if job.is_cut_short or job.id not in moved]
    if not still or _is_control_busy():
        return
    counting.reaper_did(counting.RANG_JOBS, len(still))
    for job in still:
        if job.is_laid_out:
            doorbell.ring_finish(job.id)
    to_plan = [job.id for job in still if not job.is_laid_out]
    for start in range(0, len(to_plan), PLANS_PER_RING):
        doorbell.ring_plan(to_plan[start : start + PLANS_PER_RING], is_counting=True)


def _is_control_busy() -> bool:
    """Whether so many doorbells wait that the one for a still job may be among them."""
    try:
        return waiting_rings(Queue.CONTROL) > CONTROL_RINGS_MAX
    except BrokerError as error:
        logger.warning("could not look into queue %s: %s", Queue.CONTROL, error)
        return True


def _see_to_uncommitted(process: WorkerProcess, live: Sequence[LiveChunk]) -> None:
    """Have a planner open or discard what one left behind that died, unless the job has ended meanwhile."""
    for job_id in {chunk.job_id for chunk in live if chunk.visible_at is None}:
        job = jobs.find_without_request(process.db, job_id)
        if job is None:
            chunks.delete_job(process.db, job_id)
        elif job.status.is_final:
            chunks.delete_epoch(process.db, job_id, job.epoch)
        else:
            counting.reaper_did(counting.RESCUED_PLAN)
            doorbell.ring_plan([job_id])
