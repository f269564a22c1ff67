"""The snapshots that this process has open: swapped as one, closed when nobody reads them any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from shared.clock import now
from shared.errors import IndexDamaged, IndexMissing, InvalidCursor
from shared.store.indexes import Published
from workers.vectors.engine import Index

FORMER_SECONDS = 300.0
"""How long the snapshot before stays open, for whoever has a cursor in it."""


@dataclass(kw_only=True, eq=False)
class OpenIndex:
    """One snapshot, and how many read it."""

    snapshot: Index
    published: Published  # what its pointer says of it
    is_current: bool  # whether it is the one that the pointer names
    opened_at: datetime = field(default_factory=now)
    readers: int = 0
    is_retired: bool = False


class OpenIndexes:
    """Lends snapshots to threads that search, while another thread swaps them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._current: dict[str, OpenIndex] = {}
        self._former: dict[str, tuple[OpenIndex, float]] = {}  # and when its time is up
        self._troubles: dict[str, str] = {}  # why the newest snapshot is not open

    @contextmanager
    def lent(self, index_id: str, snapshot: str | None = None) -> Iterator[OpenIndex]:
        """Lend the current snapshot of an index, or the one of this name.

        Raises:
            IndexMissing: if there is no such index.
            IndexDamaged: if it can't be opened.
            InvalidCursor: if the named snapshot is not open any more.
        """
        with self._lock:
            lent = self._chosen(index_id, snapshot)
            lent.readers += 1
        try:
            yield lent
        finally:
            with self._lock:
                lent.readers -= 1
                is_last = lent.is_retired and not lent.readers
            if is_last:
                lent.snapshot.close()

    def _chosen(self, index_id: str, snapshot: str | None) -> OpenIndex:
        current = self._current.get(index_id)
        if current is None:
            name = index_id.partition(".")[2]
            if index_id in self._troubles:
                raise IndexDamaged(f"The index {name!r} can't be opened.")
            raise IndexMissing(f"There is no index {name!r} yet.")
        if snapshot in (None, current.snapshot.name):
            return current
        former = self._former.get(index_id)
        if former is None or former[0].snapshot.name != snapshot:
            raise InvalidCursor("The index was built anew since the first page was read.")
        return former[0]

    def current(self) -> dict[str, OpenIndex]:
        """Return what is open and current, by id."""
        with self._lock:
            return dict(self._current)

    def troubles(self) -> dict[str, str]:
        """Return why the newest snapshot of some indexes is not open, by id."""
        with self._lock:
            return dict(self._troubles)

    def put(self, index_id: str, opened: OpenIndex) -> None:
        """Let searches that begin from now on find this snapshot."""
        with self._lock:
            last = self._current.get(index_id)
            self._current[index_id] = opened
            leaving = self._former.pop(index_id, None)
            if last is not None:
                self._former[index_id] = (last, time.monotonic() + FORMER_SECONDS)
        if leaving is not None:
            self._retire(leaving[0])

    def note_trouble(self, index_id: str, reason: str | None) -> None:
        """Keep why the newest snapshot of an index is not open; None where it is."""
        with self._lock:
            self._troubles.pop(index_id, None)
            if reason is not None:
                self._troubles[index_id] = reason

    def drop(self, index_id: str) -> None:
        """Forget an index whose pointer is gone."""
        with self._lock:
            self._troubles.pop(index_id, None)
            former = self._former.pop(index_id, None)
            leaving = [one for one in (self._current.pop(index_id, None), former and former[0]) if one is not None]
        for one in leaving:
            self._retire(one)

    def expire(self) -> None:
        """Let go of former snapshots whose time is up."""
        with self._lock:
            over = [name for name, (_, until) in self._former.items() if time.monotonic() > until]
            leaving = [self._former.pop(name)[0] for name in over]
        for one in leaving:
            self._retire(one)

    def close(self) -> None:
        """Let go of everything."""
        for index_id in self.current():
            self.drop(index_id)

    def _retire(self, opened: OpenIndex) -> None:
        with self._lock:
            opened.is_retired = True
            is_free = not opened.readers
        if is_free:
            opened.snapshot.close()
