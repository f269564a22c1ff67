"""Record: give a chunk its one outcome, the moment from which its items count as done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shared.clock import now
from shared.items import ItemOutcome, ItemStatus
from shared.store import chunks, outcomes
from shared.store.chunks import Chunk, PlannedItem
from shared.store.job_record import PaceMark
from shared.store.outcomes import Outcome, StoredError, StoredItem
from workers.engine import counting
from workers.engine.process import WorkerProcess

CANCELLED = ItemOutcome(status=ItemStatus.CANCELLED)


def stored(planned: PlannedItem, outcome: ItemOutcome) -> StoredItem:
    """Return an item with what became of it, as it is stored."""
    return StoredItem(
        index=planned.index,
        item=planned.item,
        status=outcome.status,
        result=outcome.result.model_dump(mode="json", by_alias=True) if outcome.result else None,
        error=StoredError(code=outcome.error.code, message=outcome.error.message) if outcome.error else None,
    )


def rest_as(chunk: Chunk, outcome: ItemOutcome) -> list[StoredItem]:
    """Return the chunk's items where all that have not ended yet end in the same way."""
    return [*chunk.ended, *(stored(planned, outcome) for planned in chunk.items[len(chunk.ended) :])]


def record(
    process: WorkerProcess,
    chunk: Chunk,
    items: Sequence[StoredItem],
    busy_seconds: float,
    *,
    marks: Sequence[PaceMark] | None = None,
) -> None:
    """Store what became of a chunk's items, once: where the chunk has its outcome already, nothing changes."""
    moment = now()
    counts = Counter(item.status for item in items)
    outcome = Outcome(
        id=chunk.id,
        job_id=chunk.job_id,
        epoch=chunk.epoch,
        n=chunk.n,
        items=tuple(items),
        counts=dict(counts),
        busy_seconds=round(busy_seconds, 6),
        worker=process.name,
        finished_at=moment,
        expires_at=moment + 2 * process.settings.job_ttl,
    )
    with counting.timing(counting.RECORD):
        if is_first := outcomes.insert(process.db, outcome):
            process.progress.add(process.db, chunk.job_id, chunk.epoch, counts, busy_seconds, marks=marks)
        chunks.delete(process.db, chunk.id)
    if is_first:
        counting.chunk_recorded(chunk.kind, counts, items, busy_seconds)
