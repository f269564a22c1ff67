"""Run: take the chunk whose turn it is, bring its items to their outcomes, merge, and record them once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pymongo.errors import OperationFailure

from shared import logs, tracing
from shared.broker import Queue
from shared.clock import now
from shared.errors import BacklineError, InputNeeded, NotYet, QuotaSpent, in_words
from shared.items import failed
from shared.jobs import get_kind
from shared.jobs.job import JobContext, JobKind, JobRequest
from shared.store import chunks, jobs, questions
from shared.store.chunks import Chunk
from shared.store.database import StoreError
from shared.store.job_record import JobError, JobRecord, JobStatus
from shared.store.outcomes import StoredItem
from workers.engine import counting, doorbell
from workers.engine.heartbeat import BEAT_SECONDS, Claim, Heartbeat
from workers.engine.planning import window_chunks
from workers.engine.process import SeenJob, WorkerProcess
from workers.engine.recording import record, rest_as
from workers.engine.working import CRASHES_MAX, GivenBack, Worker

logger = logging.getLogger(__name__)

ATTEMPTS_MAX = 6
"""So often a chunk is begun for no fault of its items before it is given up."""

FAILURES_MAX = 3
"""So often a chunk may end in an exception that no item is to blame for, such as one of its kind's `merge`."""

FAILURE_PAUSE = timedelta(seconds=1)
"""Before the second attempt after such an exception; what it was about may be over by then."""


JOB_AGE_MAX = timedelta(seconds=BEAT_SECONDS)
"""For so long a job is believed to be as it was, from one small chunk to the next; within a long one, the heartbeat
hears of a cancel no sooner."""

JOBS_KEPT = 8

Kept = TypeVar("Kept")


class MergeFailed(Exception):
    """The kind's `merge` raised."""


def run(queue: Queue, process: WorkerProcess, heartbeat: Heartbeat) -> None:
    """Take one chunk from `queue`, if there is one, and bring it to its outcome."""
    with counting.timing(counting.CLAIM):
        chunk = chunks.claim(process.db, queue, process.name, process.settings.lease)
    if chunk is None:
        return
    if chunk.attempts > 1:
        counting.chunk_met(chunk.kind, counting.TAKEN_OVER)
    seen = _job_of(chunk, process)
    if seen is None:
        chunks.delete(process.db, chunk.id)
        return
    job = seen.job
    with (
        tracing.span(f"chunk {chunk.kind}", within=job.traceparent, **_attributes(chunk)),
        logs.about(job=job.id, chunk=chunk.n, owner=job.owner, request=job.request_id),
    ):
        if _is_given_up(chunk):
            _give_up(chunk, process, reason=chunk.reason or "the workers' log says why")
        else:
            _try(seen, chunk, process, heartbeat)


def _attributes(chunk: Chunk) -> dict[str, str | int]:
    return {
        "backline_job_id": chunk.job_id,
        "backline_chunk_n": chunk.n,
        "backline_epoch": chunk.epoch,
        "backline_items": len(chunk.items),
        "backline_attempts": chunk.attempts,
        "backline_queue": chunk.queue.value,
    }


def _job_of(chunk: Chunk, process: WorkerProcess) -> SeenJob | None:
    """Return the chunk's job as it is or was a moment ago, or None where it does not want the chunk any more."""
    seen = process.jobs.get(chunk.job_id)
    if seen is None or seen.job.epoch != chunk.epoch or now() - seen.at >= JOB_AGE_MAX:
        moment = now()
        job = jobs.find_without_request(process.db, chunk.job_id)
        if job is None or job.epoch != chunk.epoch or job.status.is_final:
            return None
        seen = SeenJob(job=job, at=moment)
        if job.progress.done:  # before that it does not even know its own pace
            _keep(process.jobs, job.id, seen)
    return seen


def _try(seen: SeenJob, chunk: Chunk, process: WorkerProcess, heartbeat: Heartbeat) -> None:
    """Bring the chunk to its outcome; what keeps it from that, and is no item's fault, is the chunk's failure."""
    claim = Claim(chunk)
    claim.is_cancelled = seen.job.cancel_requested_at is not None
    try:
        with heartbeat.watching(claim):
            _ChunkRun(seen, claim, process).bring_to_outcome()
    except OperationFailure as error:  # MongoDB refuses; it may be well again when the lease has run out
        chunks.note_reason(process.db, claim.chunk, in_words(error))
        raise
    except StoreError:
        raise
    except Exception as error:  # a kind's boundary: it is noted, tried again, and then the job's error
        logger.error("%s broke off: %s", chunk.id, in_words(error), exc_info=not isinstance(error, BacklineError))
        tracing.fail(error)
        if not claim.is_lost:
            _note_failure(claim.chunk, process, reason=in_words(error))


def _note_failure(chunk: Chunk, process: WorkerProcess, *, reason: str) -> None:
    counting.chunk_met(chunk.kind, counting.BROKE_OFF)
    failures = chunk.failures + 1
    if failures >= FAILURES_MAX:
        _give_up(chunk, process, reason=reason)
    else:
        chunks.release_failed(process.db, chunk, reason, visible_at=now() + failures * FAILURE_PAUSE)


def _give_up(chunk: Chunk, process: WorkerProcess, *, reason: str) -> None:
    """Let what is left of the chunk fail, and have the job say why."""
    message = f"The work on a chunk failed again and again, so it was given up: {reason}"
    counting.chunk_met(chunk.kind, counting.GIVEN_UP)
    jobs.note_work_error(process.db, chunk.job_id, chunk.epoch, JobError(code="gave_up", message=message))
    record(process, chunk, rest_as(chunk, failed("gave_up", message)), busy_seconds=0.0)
    doorbell.ring_plan([chunk.job_id])  # for more, or for the end; the kind itself may not be known here


def _is_given_up(chunk: Chunk) -> bool:
    return chunk.attempts > ATTEMPTS_MAX + (CRASHES_MAX + 1) * (len(chunk.crashes) + len(chunk.hung))


class _ChunkRun:
    """One claim of one chunk, from its first item to its outcome, or back to the others."""

    def __init__(self, seen: SeenJob, claim: Claim, process: WorkerProcess) -> None:
        job = seen.job
        self._job = job
        self._claim = claim
        self._process = process
        self._marks = job.marks_at(seen.at)
        self._kind: JobKind = get_kind(job.kind)
        self._request: JobRequest = _request_of(job, self._kind, process)
        self._context = JobContext.of(job, process.db, process.settings)

    def bring_to_outcome(self) -> None:
        """Work through the chunk; where that has to stop half way, keep what has ended and give the rest back."""
        worker = Worker(self._kind, self._request, self._claim, self._context)
        try:
            worker.work()
        except GivenBack as reason:
            logger.info("%s given back: %s", self._claim.chunk.id, reason)
            self._give_back(worker)
        except NotYet as reason:
            logger.info("%s waits until %s: %s", self._claim.chunk.id, reason.resumes_at, reason)
            self._park(worker, reason)
        else:
            self._end(worker)

    def _end(self, worker: Worker) -> None:
        chunk = self._claim.chunk
        self._merge(worker.good)
        items = [*chunk.ended, *worker.ended]
        marks = None if self._marks == self._job.marks else self._marks
        record(self._process, chunk, items, worker.busy_seconds, marks=marks)
        logger.info("%s %s: %d items in %.1f s", self._kind.name, chunk.id, len(items), worker.busy_seconds)
        if self._job.status is JobStatus.WAITING_INPUT:  # it was answered just when the chunk was put aside
            jobs.resume(self._process.db, self._job.id)
        if self._job.status is JobStatus.WAITING_QUOTA and (self._job.resumes_at or now()) <= now():
            jobs.resume(self._process.db, self._job.id)
        _ring_for_more(self._job, self._process)

    def _give_back(self, worker: Worker) -> None:
        if self._claim.is_lost:
            counting.chunk_met(self._kind.name, counting.LEASE_LOST)
            return
        counting.chunk_met(self._kind.name, counting.GIVEN_BACK)
        self._release(worker)
        doorbell.ring_run(self._claim.chunk.queue, 1)

    def _park(self, worker: Worker, reason: NotYet) -> None:
        counting.chunk_met(self._kind.name, counting.PARKED)
        if isinstance(reason, InputNeeded):
            job = self._job
            questions.ask(self._process.db, job.id, job.epoch, reason.key, reason.message, reason.schema)
            self._process.jobs.pop(job.id, None)  # it waits from now on
            jobs.wait_for_input(self._process.db, job.id)
        self._release(worker, reason)
        if isinstance(reason, QuotaSpent):
            self._process.jobs.pop(self._job.id, None)  # it waits from now on
            jobs.wait_for_quota(self._process.db, self._job.id, reason.resumes_at)

    def _release(self, worker: Worker, reason: NotYet | None = None) -> None:
        self._merge(worker.good)
        ended: Sequence[StoredItem] = [*self._claim.chunk.ended, *worker.ended]
        visible_at = reason.resumes_at if reason else None
        chunks.release(self._process.db, self._claim.chunk, ended=ended, visible_at=visible_at)

    def _merge(self, good: Sequence[tuple[Any, Any]]) -> None:
        if not good:
            return
        try:
            with counting.timing(counting.MERGE), tracing.span(f"merge {self._kind.name}", backline_items=len(good)):
                self._kind.merge(self._request, good, self._context)
        except StoreError:
            raise
        except Exception as error:
            raise MergeFailed(f"the merge of its results raised {in_words(error)}") from error


def _request_of(job: JobRecord, kind: JobKind, process: WorkerProcess) -> JobRequest:
    """Return the job's request, which never changes; the last few are kept, for it may be large."""
    if job.id not in process.requests:
        request = kind.request.model_validate(jobs.get(process.db, job.id).request)
        _keep(process.requests, job.id, request)
    return process.requests[job.id]


def _keep(kept: dict[str, Kept], job_id: str, value: Kept) -> None:
    """Keep what was read of a job beside that of a few others, in place of the oldest."""
    kept.pop(job_id, None)
    while len(kept) >= JOBS_KEPT:
        kept.pop(next(iter(kept)))
    kept[job_id] = value


def _ring_for_more(job: JobRecord, process: WorkerProcess) -> None:
    """Ask for the job's next chunks when its window runs low, or for its end when nothing is left."""
    live = chunks.count_live(process.db, job.id, job.epoch)
    if live == 0 and job.is_laid_out:
        doorbell.ring_finish(job.id)
    elif live in _low_marks(job, process):
        doorbell.ring_plan([job.id])


def _low_marks(job: JobRecord, process: WorkerProcess) -> tuple[int, ...]:
    # Not at every count below half: the plan that the first ring asked for may well be on its way.
    half = window_chunks(process.db, job, get_kind(job.kind), process.settings) // 2
    return half, half // 2, 0
