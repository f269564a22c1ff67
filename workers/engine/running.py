"""Run: take the chunk whose turn it is, work on its items one by one, merge, and record its outcome once."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module

from shared.broker import Queue
from shared.errors import ItemFailed, QuotaSpent
from shared.items import ItemOutcome, failed
from shared.jobs import get_kind
from shared.jobs.job import JobContext, JobKind, JobRequest, Work
from shared.store import chunks, jobs
from shared.store.chunks import Chunk
from shared.store.database import StoreError
from shared.store.jobs import JobRecord, JobStatus
from workers.engine import doorbell
from workers.engine.heartbeat import Claim, Heartbeat
from workers.engine.planning import window_chunks
from workers.engine.process import WorkerProcess, stopping
from workers.engine.recording import CANCELLED, record

logger = logging.getLogger(__name__)

CRASHES_MAX = 2
"""So many workers may die in one item before it is left out."""

ATTEMPTS_MAX = 6
"""So often a chunk is begun for no fault of its items before it is given up."""


class GivenBack(Exception):
    """The chunk is not ours to finish: its lease was lost, or the worker is stopping."""


def run(queue: Queue, process: WorkerProcess, heartbeat: Heartbeat) -> None:
    """Take one chunk from `queue`, if there is one, and bring it to its outcome."""
    chunk = chunks.claim(process.db, queue, process.name, process.settings.lease)
    if chunk is None:
        return
    job = jobs.find(process.db, chunk.job_id)
    if job is None or job.epoch != chunk.epoch or job.status.is_final:
        chunks.delete(process.db, chunk.id)
        return
    claim = Claim(chunk)
    claim.is_cancelled = job.cancel_requested_at is not None
    with heartbeat.watching(claim):
        try:
            _bring_to_outcome(job, claim, process)
        except GivenBack as reason:
            logger.info("%s given back: %s", chunk.id, reason)
            chunks.release(process.db, chunk)
            doorbell.ring_run(queue, 1)
        except QuotaSpent as reason:
            logger.info("%s waits until %s: %s", chunk.id, reason.resumes_at, reason)
            chunks.release(process.db, chunk, visible_at=reason.resumes_at)
            jobs.wait_for_quota(process.db, job.id, reason.resumes_at)


def _bring_to_outcome(job: JobRecord, claim: Claim, process: WorkerProcess) -> None:
    kind = get_kind(job.kind)
    context = JobContext(job_id=job.id, owner=job.owner, epoch=job.epoch, db=process.db, settings=process.settings)
    request = kind.request.model_validate(job.request)
    items = [kind.item.model_validate(planned.item) for planned in claim.chunk.items]
    _blame_earlier_crash(claim, process)
    started = time.monotonic()
    ended = list(_outcomes(kind, request, items, claim, context))
    _mark_if_suspect(claim, None, context)
    busy_seconds = time.monotonic() - started
    if claim.is_lost:
        raise GivenBack("its lease was lost")
    good = [(item, outcome.result) for item, outcome in zip(items, ended, strict=True) if outcome.status.is_good]
    if good:
        kind.merge(request, good, context)
    record(process, claim.chunk, ended, busy_seconds)
    logger.info("%s %s: %d items in %.1f s", job.kind, claim.chunk.id, len(ended), busy_seconds)
    if job.status is JobStatus.WAITING_QUOTA:
        jobs.resume(process.db, job.id)
    _ring_for_more(job, process)


def _blame_earlier_crash(claim: Claim, process: WorkerProcess) -> None:
    """Count the item that the chunk's last worker was marked at when it died."""
    chunk = claim.chunk
    if chunk.current is None:
        return
    chunks.blame(process.db, chunk, chunk.current)
    crashes = {**chunk.crashes, str(chunk.current): chunk.crashes.get(str(chunk.current), 0) + 1}
    claim.chunk = chunk.model_copy(update={"current": None, "crashes": crashes})


# Working


def _outcomes(
    kind: JobKind, request: JobRequest, items: Sequence[object], claim: Claim, context: JobContext
) -> Iterator[ItemOutcome]:
    """Yield one outcome per item, in order, whatever the kind's work does."""
    work = resolve(kind.work)
    pending: Iterator[ItemOutcome] | None = None
    for position in range(len(items)):
        left_out = _left_out(claim.chunk, position)
        if left_out is not None:
            pending = None
            yield left_out
            continue
        if claim.is_cancelled:
            yield CANCELLED
            continue
        _check_still_ours(claim)
        _mark_if_suspect(claim, position, context)
        if pending is None:
            pending = work(request, items[position : _next_left_out(claim.chunk, position)], context)
        claim.begin(position)
        outcome, is_intact = _outcome_of_next(pending)
        claim.end()
        pending = pending if is_intact else None
        yield outcome


def _left_out(chunk: Chunk, position: int) -> ItemOutcome | None:
    """Return the outcome of an item that must not be tried again, or None."""
    if chunk.attempts > ATTEMPTS_MAX + (CRASHES_MAX + 1) * (len(chunk.crashes) + len(chunk.hung)):
        return failed("gave_up", "The work around this item failed again and again; the workers' log says why.")
    if position in chunk.hung:
        return failed("timed_out", "The item took too long, so it was stopped, with the process that worked on it.")
    if chunk.crashes.get(str(position), 0) >= CRASHES_MAX:
        return failed("poison", f"The worker died in this item {CRASHES_MAX} times, so it is left out.")
    return None


def _next_left_out(chunk: Chunk, position: int) -> int:
    return next((later for later in range(position + 1, len(chunk.items)) if _left_out(chunk, later)), len(chunk.items))


def _check_still_ours(claim: Claim) -> None:
    if claim.is_lost:
        raise GivenBack("its lease was lost")
    if stopping.is_set():
        raise GivenBack("the worker is stopping")


def _mark_if_suspect(claim: Claim, position: int | None, context: JobContext) -> None:
    """From the second attempt on, note which item is begun, if any, to know which one a worker dies in."""
    if claim.chunk.attempts > 1 and not chunks.mark(context.db, claim.chunk, position):
        claim.is_lost = True
        raise GivenBack("its lease was lost")


def _outcome_of_next(pending: Iterator[ItemOutcome]) -> tuple[ItemOutcome, bool]:
    """Return the next item's outcome, and whether the work can go on yielding."""
    try:
        return next(pending), True
    except ItemFailed as error:
        return failed(error.item_code, error.message), False
    except (StoreError, QuotaSpent):
        raise
    except StopIteration:
        return failed("no_outcome", "The work on this chunk ended before it came to this item."), False
    except Exception as error:
        logger.exception("an item failed in a way that its kind does not know")
        return failed("unexpected", f"{type(error).__name__}: {error}"), False


@lru_cache
def resolve(dotted: str) -> Work:
    """Return the function that ``package.module:function`` names."""
    module, _, name = dotted.partition(":")
    work: Work = getattr(import_module(module), name)
    return work


# Afterwards


def _ring_for_more(job: JobRecord, process: WorkerProcess) -> None:
    """Ask for the job's next chunks when its window runs low, or for its end when nothing is left."""
    live = chunks.count_live(process.db, job.id, job.epoch)
    if live == 0 and (job.plan.is_complete or job.cancel_requested_at is not None):
        doorbell.ring_finish(job.id)
    elif live in _low_marks(job, process):
        doorbell.ring_plan([job.id])


def _low_marks(job: JobRecord, process: WorkerProcess) -> tuple[int, ...]:
    # Not at every count below half: the plan that the first ring asked for may well be on its way.
    half = window_chunks(process.db, job, get_kind(job.kind), process.settings) // 2
    return half, half // 2, 0
