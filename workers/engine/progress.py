"""The progress that a process has made and not told of yet: many small chunks move their job's document once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from shared.items import ItemStatus
from shared.model import Db
from shared.store import jobs
from shared.store.database import StoreError
from shared.store.job_record import PaceMark

TELL_SECONDS = 0.25
"""For so long the progress of chunks that take milliseconds is gathered; that of longer ones is told at once."""


@dataclass(kw_only=True)
class _Made:
    """What has been made of one epoch of a job."""

    counts: Counter[ItemStatus] = field(default_factory=Counter)
    busy_seconds: float = 0.0
    marks: Sequence[PaceMark] | None = None

    def add(self, later: _Made) -> None:
        self.counts.update(later.counts)
        self.busy_seconds += later.busy_seconds
        self.marks = self.marks if later.marks is None else later.marks


class Progress:
    """Gathers the counts that a running job shows; its totals at the end come from its outcomes alone.

    The working thread adds to it; the heartbeat tells of what nothing came after.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._made: dict[tuple[str, int], _Made] = {}
        self._told_at = 0.0
        self._lock = Lock()

    @property
    def is_untold(self) -> bool:
        """Whether there is something to tell of."""
        return bool(self._made)

    def add(
        self,
        db: Db,
        job_id: str,
        epoch: int,
        counts: Mapping[ItemStatus, int],
        busy_seconds: float,
        *,
        marks: Sequence[PaceMark] | None = None,
    ) -> None:
        """Count a chunk, and tell of it unless something was told of a moment ago."""
        self._note((job_id, epoch), _Made(counts=Counter(counts), busy_seconds=busy_seconds, marks=marks))
        if time.monotonic() - self._told_at >= TELL_SECONDS:
            self.tell(db)

    def tell(self, db: Db) -> None:
        """Add what was gathered to the jobs' documents; what MongoDB does not take is kept."""
        while taken := self._take():
            (job_id, epoch), made = taken
            try:
                jobs.add_progress(db, job_id, epoch, made.counts, made.busy_seconds, marks=made.marks)
            except StoreError:
                self._note((job_id, epoch), made)
                raise
        self._told_at = time.monotonic()

    # Never under the lock while MongoDB is asked: the heartbeat must not wait for a working thread that waits for it.

    def _note(self, place: tuple[str, int], made: _Made) -> None:
        with self._lock:
            self._made.setdefault(place, _Made()).add(made)

    def _take(self) -> tuple[tuple[str, int], _Made] | None:
        with self._lock:
            return self._made.popitem() if self._made else None
