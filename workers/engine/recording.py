"""Record: give a chunk its one outcome, the moment from which its items count as done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shared.clock import now
from shared.items import ItemOutcome, ItemStatus
from shared.store import chunks, jobs, outcomes
from shared.store.chunks import Chunk, PlannedItem
from shared.store.outcomes import Outcome, StoredError, StoredItem
from workers.engine.process import WorkerProcess

CANCELLED = ItemOutcome(status=ItemStatus.CANCELLED)


def record(process: WorkerProcess, chunk: Chunk, ended: Sequence[ItemOutcome], busy_seconds: float) -> None:
    """Store what became of a chunk's items, once: where the chunk has its outcome already, nothing changes."""
    moment = now()
    counts = Counter(outcome.status for outcome in ended)
    outcome = Outcome(
        id=chunk.id,
        job_id=chunk.job_id,
        epoch=chunk.epoch,
        n=chunk.n,
        items=tuple(_stored(planned, one) for planned, one in zip(chunk.items, ended, strict=True)),
        counts=dict(counts),
        busy_seconds=round(busy_seconds, 6),
        worker=process.name,
        finished_at=moment,
        expires_at=moment + 2 * process.settings.job_ttl,
    )
    is_first = outcomes.insert(process.db, outcome)
    chunks.delete(process.db, chunk.id)
    if is_first:
        jobs.add_progress(process.db, chunk.job_id, counts, busy_seconds)


def _stored(planned: PlannedItem, outcome: ItemOutcome) -> StoredItem:
    return StoredItem(
        index=planned.index,
        item=planned.item,
        status=ItemStatus(outcome.status),
        result=outcome.result.model_dump(mode="json", by_alias=True) if outcome.result else None,
        error=StoredError(code=outcome.error.code, message=outcome.error.message) if outcome.error else None,
    )
