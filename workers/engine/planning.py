"""Plan: lay out a bounded window of a job's chunks, and count ahead so that its progress has a total.

The plan of a kind is lazy and resumes behind a cursor, so a job of a million items is never in memory. A planner
holds the plan under a lease. Its chunks become claimable only after the job document has been moved on
past them by compare-and-set; what a planner leaves behind that died before is deleted by the next one. So every
item is laid out exactly once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

from pydantic import BaseModel
from pymongo.errors import BulkWriteError

from shared import logs, tracing
from shared.broker import Queue
from shared.clock import new_id
from shared.errors import BacklineError, NoItems, NotYet, TooManyItems, in_words
from shared.jobs import get_kind
from shared.jobs.job import JobContext, JobKind, JobRequest, no_step
from shared.model import Cursor, Db, Json
from shared.quotas import check_items_of_day, note_items
from shared.settings import Settings
from shared.store import chunks, jobs, outcomes, paces, slots
from shared.store.chunks import Chunk, PlannedItem, chunk_id
from shared.store.database import StoreError, ensure_library_indexes
from shared.store.job_record import JobError, JobRecord, PlanState, RetrySource
from workers.engine import doorbell, versions
from workers.engine.finishing import finish
from workers.engine.heartbeat import Heartbeat
from workers.engine.process import WorkerProcess
from workers.engine.versions import Unreadable

logger = logging.getLogger(__name__)

COUNT_SECONDS = 1.0
"""How long one plan counts ahead, so that a huge job does not keep others' plans waiting."""

CHUNKS_PER_SLOT = (4, 16)
"""The fewest and the most chunks laid out in front of each worker slot."""

FIRST_CHUNK_PART = 8
"""The first chunks of a job are this part of a whole one, and double in size: its progress moves within seconds, and
its later chunks are sized by its own figure. Each costs some milliseconds."""

LAST_CHUNK_PART = 20
"""The last chunks of a job shrink down to this part of a whole one."""

SLOTS_SECONDS = 3.0
"""For how long the number of worker slots is believed."""

_slots_seen: dict[Queue, tuple[float, int]] = {}


def plan(job_id: str, process: WorkerProcess, heartbeat: Heartbeat, *, is_counting: bool = False) -> None:
    """Fill up the job's window, or bring the job to its end when nothing is left.

    Counting ahead is one chain of doorbells: the job's first plan begins it, and each link (`is_counting`) rings
    for the next until the total is known.
    """
    token = new_id("plan")
    lease = process.settings.lease
    job = jobs.begin_planning(process.db, job_id, token, lease)
    if job is None:
        return
    try:
        with (
            tracing.span(f"plan {job.kind}", within=job.traceparent, backline_job_id=job.id),
            logs.about(job=job.id, owner=job.owner, request=job.request_id),
            heartbeat.renewing(lambda: jobs.renew_plan(process.db, job_id, token, lease)),
        ):
            versions.check(job)
            _lay_out(job, token, process, is_counting=is_counting)
    except Unreadable as error:
        logger.info("the plan of %s is left to others: %s", job_id, error)
        return
    finally:
        jobs.end_planning(process.db, job_id, token)
    finish(job_id, process)


def _lay_out(job: JobRecord, token: str, process: WorkerProcess, *, is_counting: bool) -> None:
    """Let the planner do its turn; what stops it becomes the job's."""
    try:
        planner = _Planner(job, process)
        planner.fill_window()
        if is_counting or planner.is_first:
            planner.count_on()
    except LostPlan:
        logger.info("the plan of %s went to somebody else", job.id)
    except NotYet as reason:
        jobs.wait_for_quota(process.db, job.id, reason.resumes_at)
    except StoreError:
        raise
    except BacklineError as error:
        _give_up(job, token, JobError(code=error.code, message=error.message), process)
    except Exception as error:  # a kind's boundary: it is the job's error, and the log has the rest
        _give_up(job, token, JobError(code="unexpected", message=in_words(error)), process)
        raise


def _give_up(job: JobRecord, token: str, error: JobError, process: WorkerProcess) -> None:
    logger.warning("the plan of %s can't go on: %s", job.id, error.message)
    jobs.give_up_plan(process.db, job.id, token, error)


# Sizes


def count_slots(db: Db, queue: Queue) -> int:
    """Return how many worker processes take work from `queue`, at least one; a few seconds old at most."""
    seen_at, count = _slots_seen.get(queue, (-math.inf, 1))
    if time.monotonic() - seen_at > SLOTS_SECONDS:
        count = max(slots.count_by_queue(db)[queue], 1)
        _slots_seen[queue] = (time.monotonic(), count)
    return count


def item_seconds(db: Db, job: JobRecord, kind: JobKind) -> float:
    """Return how long an item of this job takes: by its own figure, or the last job's, or the kind's guess."""
    worked = job.progress.succeeded + job.progress.failed
    if worked:
        return max(job.progress.busy_seconds / worked, 1e-6)
    return paces.find(db, kind.name) or kind.item_seconds


def chunk_items(db: Db, job: JobRecord, kind: JobKind, settings: Settings) -> int:
    """Return how many items make a chunk of the length that the settings ask for."""
    fitting = round(settings.chunk_seconds / item_seconds(db, job, kind))
    return max(kind.chunk_items_min, min(fitting, kind.chunk_items_max))


def window_chunks(db: Db, job: JobRecord, kind: JobKind, settings: Settings) -> int:
    """Return how many chunks of a job are laid out at once."""
    seconds = chunk_items(db, job, kind, settings) * item_seconds(db, job, kind)
    fewest, most = CHUNKS_PER_SLOT
    per_slot = max(fewest, min(math.ceil(settings.window_seconds / max(seconds, 1e-3)), most))
    return per_slot * _slots_of(db, kind) if kind.slots_share >= 1 else _slots_of(db, kind)


def _slots_of(db: Db, kind: JobKind) -> int:
    """Return how many worker slots may be at one job of a kind at once."""
    return max(1, int(count_slots(db, kind.queue) * kind.slots_share))


# Laying out


class LostPlan(Exception):
    """Somebody else holds the plan by now, or the job was cancelled meanwhile."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """An item that the plan has come to, and the plan's state behind it."""

    item: Json
    index: int
    state: PlanState


@dataclass(frozen=True, kw_only=True)
class _Next:
    """What is to be laid out next."""

    found: Sequence[_Found]
    step: Queue | None = None  # where the only item is worked on, if it is a step
    is_phase_end: bool = False  # what comes behind waits for these
    is_last: bool = False  # nothing comes behind


class _Planner:
    """One planner's turn at a job."""

    def __init__(self, job: JobRecord, process: WorkerProcess) -> None:
        self._job = job
        self._process = process
        self._db = process.db
        self._state = job.plan
        self._kind = get_kind(job.kind)
        self._request: JobRequest = self._kind.request.model_validate(job.request)
        self._context = JobContext.of(job, process.db, process.settings)

    @property
    def is_first(self) -> bool:
        """Whether nobody has counted this job's items yet."""
        return self._job.plan.counted == 0

    def fill_window(self) -> None:
        """Lay out what the window has room for."""
        job = self._job
        if job.plan.chunks == 0 and self._context.library is not self._db:
            ensure_library_indexes(self._context.library)  # it may be the owner's first job
        self._recover()
        live = chunks.count_live(self._db, job.id, job.epoch)
        room = window_chunks(self._db, job, self._kind, self._process.settings) - live
        if not job.is_laid_out and room > 0 and not (live and self._state.in_step):
            check_items_of_day(self._db, job.owner, self._process.settings)
            self._state = self._lay_out(self._state, room, is_quiet=live == 0)

    def _recover(self) -> None:
        """Open what an earlier planner committed and left shut, and delete what it did not commit."""
        opened = chunks.commit(self._db, self._job.id, self._job.epoch, below=self._state.chunks)
        chunks.discard_uncommitted(self._db, self._job.id, self._job.epoch)
        if opened:  # on whichever queue a step wants, the reaper rings soon
            doorbell.ring_run(self._kind.queue, opened)

    def _lay_out(self, state: PlanState, room: int, *, is_quiet: bool) -> PlanState:
        """Insert up to `room` chunks, move the job on past them, then let them be claimed.

        A step is laid out only while the job `is_quiet`: when nothing of it is live.
        """
        size = chunk_items(self._db, self._job, self._kind, self._process.settings)
        next_ = self._collect(state, sum(islice(self._growing(state.chunks, size), room)), is_quiet=is_quiet)
        if not next_.found and not next_.is_last:
            return state
        sizes = self._growing(state.chunks, size)
        if next_.is_phase_end and self._kind.slots_share >= 1:  # else they would be more than there is room for
            sizes = self._tapering(len(next_.found), size, sizes)
        batch = self._chunks(state, _cut(next_.found, sizes), size, next_.step or self._kind.queue)
        after = (next_.found[-1].state if next_.found else state).model_copy(
            update={
                "chunks": state.chunks + len(batch),
                "turn": batch[-1].turn if batch else state.turn,
                "in_step": next_.step is not None,
                **({"exhausted": True, "sources": ()} if next_.is_last else {}),
            }
        )
        self._check_size(after)
        self._commit(batch, after)
        note_items(self._db, self._job.owner, len(next_.found), self._process.settings)
        return after

    def _collect(self, state: PlanState, most: int, *, is_quiet: bool) -> _Next:
        """Return the next items, as many as there are before a step or as come within a part of the lease, or a step.

        A step waits for what is found before it, and until the job `is_quiet`.
        """
        deadline = time.monotonic() + self._process.settings.lease_seconds / 3
        found: list[_Found] = []
        remaining = self._remaining(state)
        for one in remaining:
            step = self._step_of(one)
            if step is not None and (found or not is_quiet):
                return _Next(found=found, is_phase_end=True)
            found.append(one)
            if step is not None:
                return _Next(found=found, step=step, is_phase_end=True, is_last=next(remaining, None) is None)
            if len(found) == most or time.monotonic() > deadline:
                return _Next(found=found)
        return _Next(found=found, is_phase_end=True, is_last=True)

    def _step_of(self, one: _Found) -> Queue | None:
        if self._kind.last_step is no_step:
            return None
        return self._kind.last_step(self._kind.item.model_validate(one.item))

    def _growing(self, first: int, size: int) -> Iterator[int]:
        """Yield the sizes of the chunks from number `first` on, as long as the job's end is not in sight."""
        slots_ = _slots_of(self._db, self._kind)
        for n in count(first):
            doublings = min(n // slots_, FIRST_CHUNK_PART)
            yield max(self._kind.chunk_items_min, min(size, math.ceil(size * 2**doublings / FIRST_CHUNK_PART)))

    def _tapering(self, items: int, size: int, sizes: Iterator[int]) -> Iterator[int]:
        """Yield these sizes, but shrinking towards the end, so that all slots come to it at about the same time.

        Guided self-scheduling (Polychronopoulos and Kuck, 1987), with half its share and a least size.
        """
        slots_ = count_slots(self._db, self._kind.queue)
        least = max(self._kind.chunk_items_min, math.ceil(size / LAST_CHUNK_PART))
        while items > 0:
            share = min(next(sizes), max(least, math.ceil(items / (2 * slots_))))
            yield share
            items -= share

    def _check_size(self, state: PlanState) -> None:
        if state.exhausted and state.items == 0 and not self._kind.may_be_empty:
            raise NoItems("The request leads to nothing to work on.")
        if max(state.items, state.counted) > self._process.settings.max_items_per_job:
            limit = self._process.settings.max_items_per_job
            raise TooManyItems(f"The request leads to more than the {limit:,} items that one job may have.")

    def _chunks(self, state: PlanState, groups: Sequence[Sequence[_Found]], size: int, queue: Queue) -> list[Chunk]:
        """Return a chunk for each group; the turns between two are as long as the first is, against a whole chunk."""
        floor = chunks.lowest_turn(self._db, queue, self._process.settings.lease)
        turn = max(state.turn, (floor or 0.0) - 1.0)
        laid_out = []
        for n, group in enumerate(groups, start=state.chunks):
            turn += len(group) / size
            laid_out.append(self._chunk(group, n=n, turn=turn, queue=queue))
        return laid_out

    def _chunk(self, group: Sequence[_Found], *, n: int, turn: float, queue: Queue) -> Chunk:
        job = self._job
        return Chunk(
            id=chunk_id(job.id, job.epoch, n),
            job_id=job.id,
            kind=job.kind,
            queue=queue,
            epoch=job.epoch,
            n=n,
            items=tuple(PlannedItem(index=found.index, item=found.item) for found in group),
            turn=turn,
            planner=job.plan.token or "",
        )

    def _commit(self, batch: Sequence[Chunk], after: PlanState) -> None:
        job = self._job
        try:
            if batch:
                chunks.insert(self._db, batch)
        except BulkWriteError as error:
            raise LostPlan(f"another planner laid out chunks of {job.id} at the same time") from error
        try:
            self._save(after)
        except LostPlan:
            chunks.discard_uncommitted(self._db, job.id, job.epoch, planner=job.plan.token)
            raise
        opened = chunks.commit(self._db, job.id, job.epoch, below=after.chunks)
        if batch:
            doorbell.ring_run(batch[0].queue, opened)

    def _save(self, state: PlanState) -> None:
        is_exact = state.counted_all or state.exhausted
        if not jobs.save_plan(self._db, self._job.id, state, total=state.total, total_is_exact=is_exact):
            raise LostPlan(self._job.id)

    # What comes next

    def _remaining(self, state: PlanState) -> Iterator[_Found]:
        """Yield what is still to be laid out: first what a retry takes up again, then the kind's plan."""
        for source in state.sources:
            yield from self._retried(state, source)
        if not state.exhausted:
            behind = state.model_copy(update={"sources": ()})
            yield from self._planned(behind)

    def _retried(self, state: PlanState, source: RetrySource) -> Iterator[_Found]:
        """Yield the items of an earlier epoch that did not succeed."""
        later = tuple(other for other in state.sources if other.epoch < source.epoch)
        behind = {"chunks": source.chunks, "n": source.n, "place": source.place}
        for n, place, item in outcomes.iterate_retriable(self._db, self._job.id, source.epoch, **behind):
            moved = source.model_copy(update={"n": n, "place": place})
            yield _Found(item=item.item, index=item.index, state=state.model_copy(update={"sources": (moved, *later)}))

    def _planned(self, state: PlanState) -> Iterator[_Found]:
        items = state.items
        for planned in self._kind.plan(self._request, state.cursor, self._context):
            items += 1
            moved = state.model_copy(update={"items": items, "cursor": planned.cursor})
            yield _Found(item=_dump(planned.item), index=items - 1, state=moved)

    # Counting

    def count_on(self) -> None:
        """Go through the kind's plan for a moment, only to know how many items there are; ring to go on."""
        state = self._state
        if self._job.is_cut_short or state.exhausted or state.counted_all:
            return
        self._state = self._counted_ahead(state)
        self._check_size(self._state)
        self._save(self._state)
        if not self._state.counted_all:
            doorbell.ring_plan([self._job.id], is_counting=True)

    def _counted_ahead(self, state: PlanState) -> PlanState:
        start: tuple[int, Cursor | None] = max(
            (state.counted, state.count_cursor), (state.items, state.cursor), key=lambda place: place[0]
        )
        count, cursor = start
        deadline = time.monotonic() + COUNT_SECONDS
        for planned in self._kind.plan(self._request, cursor, self._context):
            count, cursor = count + 1, planned.cursor
            if time.monotonic() > deadline or count > self._process.settings.max_items_per_job:
                return state.model_copy(update={"counted": count, "count_cursor": cursor})
        return state.model_copy(update={"counted": count, "count_cursor": cursor, "counted_all": True})


def _cut(found: Sequence[_Found], sizes: Iterable[int]) -> list[Sequence[_Found]]:
    """Return the items in groups of these sizes, the last as large as what is left."""
    groups, start = [], 0
    for size in sizes:
        if start >= len(found):
            break
        groups.append(found[start : start + size])
        start += size
    return groups


def _dump(item: BaseModel) -> Json:
    return item.model_dump(mode="json", by_alias=True, exclude_none=True)
