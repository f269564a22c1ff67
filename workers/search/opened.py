"""The snapshots that this process has open: swapped as one, closed when nobody reads them any more.

Only so many are open at a time, for each holds some twenty files: the index that nobody has searched for the longest
time rests, and is opened again by the first search that wants it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Condition, Event

from shared.clock import now
from shared.errors import IndexDamaged, IndexMissing, InvalidCursor, SearchWarming
from shared.store.indexes import Published
from workers.vectors.engine import Index

FORMER_SECONDS = 300.0
"""How long the snapshot before stays open, for whoever has a cursor in it."""
OPENING_SECONDS = 8.0
"""So long a search waits for the opening of an index that rested."""


@dataclass(kw_only=True, eq=False)
class OpenIndex:
    """One snapshot, and how many read it."""

    snapshot: Index
    published: Published  # what its pointer says of it
    is_current: bool  # whether it is the one that the pointer names
    opened_at: datetime = field(default_factory=now)
    used_at: float = field(default_factory=time.monotonic)
    readers: int = 0
    is_retired: bool = False


class OpenIndexes:
    """Lends snapshots to threads that search, while another thread swaps them."""

    def __init__(self, most: int) -> None:
        """Keep at most so many indexes open."""
        self._most = most
        self._lock = Condition()  # told of whenever an index rests no more
        self._resting: set[str] = set()
        self._wanted: list[str] = []
        self.is_asked = Event()
        """Somebody wants an index that rests."""
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
            SearchWarming: if it rests; `wake` comes first.
        """
        with self._lock:
            lent = self._chosen(index_id, snapshot)
            lent.readers += 1
            lent.used_at = time.monotonic()
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
            if index_id in self._resting:
                raise SearchWarming(f"The index {name!r} was not searched for long, and is being opened.")
            if index_id in self._troubles:
                raise IndexDamaged(f"The index {name!r} can't be opened.")
            raise IndexMissing(f"There is no index {name!r} yet.")
        if snapshot in (None, current.snapshot.name):
            return current
        former = self._former.get(index_id)
        if former is None or former[0].snapshot.name != snapshot:
            raise InvalidCursor("The index was built anew since the first page was read.")
        return former[0]

    def rests(self, index_id: str) -> bool:
        """Tell whether an index is whole as far as is known, and not open."""
        with self._lock:
            return index_id in self._resting

    def wake(self, index_id: str) -> None:
        """Wait until an index rests no more, for some seconds at most."""
        with self._lock:
            if index_id in self._resting:
                self._wanted.append(index_id)
                self.is_asked.set()
            self._lock.wait_for(lambda: index_id not in self._resting, OPENING_SECONDS)

    def take_wanted(self) -> set[str]:
        """Return what was asked for since the last call."""
        with self._lock:
            self.is_asked.clear()
            wanted, self._wanted = set(self._wanted), []
        return wanted

    def is_followed(self, index_id: str) -> bool:
        """Tell whether an index is open, or would be if it were whole."""
        with self._lock:
            return index_id in self._current or index_id in self._troubles

    def rest(self, index_id: str) -> None:
        """Note that there is such an index, which nobody needs open."""
        with self._lock:
            self._resting.add(index_id)

    @property
    def has_room(self) -> bool:
        """Whether one more may be open without another that has to rest."""
        with self._lock:
            return len(self._current) < self._most

    def resting(self) -> set[str]:
        """Return which indexes rest."""
        with self._lock:
            return set(self._resting)

    def current(self) -> dict[str, OpenIndex]:
        """Return what is open and current, by id."""
        with self._lock:
            return dict(self._current)

    def troubles(self) -> dict[str, str]:
        """Return why the newest snapshot of some indexes is not open, by id."""
        with self._lock:
            return dict(self._troubles)

    def put(self, index_id: str, opened: OpenIndex) -> None:
        """Let searches that begin from now on find this snapshot; another index may have to rest for it."""
        with self._lock:
            last = self._current.pop(index_id, None)
            leaving = [self._former.pop(index_id, (None,))[0], *self._make_room()]
            self._current[index_id] = opened
            self._rise(index_id)
            if last is not None:
                self._former[index_id] = (last, time.monotonic() + FORMER_SECONDS)
        self._retire(leaving)

    def _make_room(self) -> list[OpenIndex | None]:
        """Put to rest what was not searched for the longest time; return what is to be closed."""
        leaving: list[OpenIndex | None] = []
        while len(self._current) >= self._most:
            index_id = min(self._current, key=lambda one: self._current[one].used_at)
            leaving += [self._current.pop(index_id), self._former.pop(index_id, (None,))[0]]
            self._resting.add(index_id)
        return leaving

    def _rise(self, index_id: str) -> None:
        self._resting.discard(index_id)
        self._lock.notify_all()

    def note_trouble(self, index_id: str, reason: str | None) -> None:
        """Keep why the newest snapshot of an index is not open; None where it is."""
        with self._lock:
            self._troubles.pop(index_id, None)
            if reason is not None:
                self._troubles[index_id] = reason
                self._rise(index_id)

    def drop(self, index_id: str) -> None:
        """Forget an index whose pointer is gone."""
        with self._lock:
            self._troubles.pop(index_id, None)
            self._rise(index_id)
            leaving = [self._current.pop(index_id, None), self._former.pop(index_id, (None,))[0]]
        self._retire(leaving)

    def expire(self) -> None:
        """Let go of former snapshots whose time is up."""
        with self._lock:
            over = [name for name, (_, until) in self._former.items() if time.monotonic() > until]
            leaving = [self._former.pop(name)[0] for name in over]
        self._retire(leaving)

    def close(self) -> None:
        """Let go of everything."""
        for index_id in self.current():
            self.drop(index_id)

    def _retire(self, leaving: Iterable[OpenIndex | None]) -> None:
        """Close what nobody reads any more; the rest is closed by its last reader."""
        for opened in leaving:
            if opened is None:
                continue
            with self._lock:
                opened.is_retired = True
                is_free = not opened.readers
            if is_free:
                opened.snapshot.close()
