"""Following the pointers: what becomes current is opened behind the scenes, checked, warmed up, and swapped in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from threading import Event, Thread

import numpy as np

from shared.model import Db
from shared.settings import Settings
from shared.store import indexes
from shared.store.database import StoreError
from shared.store.indexes import IndexPointer, Published
from workers.indexing.stores import store_in
from workers.search.opened import OpenIndex, OpenIndexes
from workers.vectors.engine import Index
from workers.vectors.errors import SnapshotDamaged, VectorsError
from workers.vectors.query import Query

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
DAMAGED_SECONDS = 60.0
"""Between two tries to open what was damaged: each reads the whole of it."""
SILENT_SECONDS = 10.0
"""After so long without an answer of MongoDB the pointers may be old."""


class Follower(Thread):
    """The only thread that opens snapshots; it keeps what it has while MongoDB is away."""

    def __init__(self, db: Db, settings: Settings, opened: OpenIndexes, note: Callable[[str], None]) -> None:
        """Prepare; `start` begins. `note` is told the name of each index of which a snapshot was opened."""
        super().__init__(name="follower", daemon=True)
        self._note = note
        self._db, self._settings, self._opened = db, settings, opened
        self._stopping = Event()
        self._answered_at: float | None = None
        self.followed_at = 0.0
        """When the pointers were read last, in seconds since 1970."""
        self._pointers: Sequence[IndexPointer] = ()  # as they were read last
        self._retry_at: dict[str, float] = {}  # snapshot -> when to try it again
        self.has_read = Event()
        """Every index that there was at the start is open, rests, or is known not to open."""

    @property
    def is_up_to_date(self) -> bool:
        """Whether the pointers could be read of late."""
        return self._answered_at is not None and time.monotonic() - self._answered_at < SILENT_SECONDS

    def run(self) -> None:
        """Look at the pointers each second, and when a resting index is wanted, until `stop`."""
        while not self._stopping.is_set():
            try:
                self.look()
            except Exception:
                # Without this thread every index would stay as it is, and nobody would know.
                logger.exception("The pointers could not be followed; trying again")
            self._opened.is_asked.wait(POLL_SECONDS)

    def stop(self) -> None:
        """End the thread, within the length of what it does now."""
        self._stopping.set()
        self._opened.is_asked.set()

    def look(self) -> None:
        """Follow the pointers as they are now; while MongoDB is away, as they were."""
        wanted = self._opened.take_wanted()
        try:
            self._pointers = indexes.find_all(self._db)
        except StoreError as error:
            if self.is_up_to_date:
                logger.warning("MongoDB does not answer (%s); what is open stays as it is", type(error).__name__)
            self._follow_all([pointer for pointer in self._pointers if pointer.id in wanted], wanted)
            return
        self._answered_at = time.monotonic()
        self._follow_all(self._pointers, wanted)
        known = {pointer.id for pointer in self._pointers}
        for gone in (self._opened.current().keys() | self._opened.resting()) - known:
            self._opened.drop(gone)
        self._opened.expire()
        self._answered_at = time.monotonic()
        self.followed_at = time.time()
        self.has_read.set()

    def _follow_all(self, pointers: Sequence[IndexPointer], wanted: Collection[str]) -> None:
        """Follow what is open or wanted, and open others, the newest first, while there is room."""
        for pointer in sorted(pointers, key=lambda one: one.built_at, reverse=True):
            if pointer.id in wanted or self._opened.is_followed(pointer.id) or self._opened.has_room:
                self._follow(pointer)
            else:
                self._opened.rest(pointer.id)

    def _follow(self, pointer: IndexPointer) -> None:
        current = self._opened.current().get(pointer.id)
        if current is not None and current.snapshot.name == pointer.snapshot:
            current.is_current = True
            self._opened.note_trouble(pointer.id, None)
            return
        if current is not None:
            current.is_current = False
        if time.monotonic() < self._retry_at.get(pointer.snapshot, 0.0):
            return
        choices: Sequence[Published] = (pointer.published,)
        if current is None and pointer.before is not None:
            choices = (pointer.published, pointer.before)
        self._open_first(pointer, choices)

    def _open_first(self, pointer: IndexPointer, choices: Sequence[Published]) -> None:
        """Open the first of some snapshots that is whole."""
        for published in choices:
            try:
                snapshot = self._open(pointer, published.snapshot)
            # What another version has written may be whole and yet be read as something else: no other index's harm.
            except (VectorsError, OSError, LookupError, TypeError, ValueError) as error:
                self._note_failure(pointer, published, error)
                continue
            is_current = published.snapshot == pointer.snapshot
            self._opened.put(pointer.id, OpenIndex(snapshot=snapshot, published=published, is_current=is_current))
            if is_current:
                self._retry_at.pop(pointer.snapshot, None)
                self._opened.note_trouble(pointer.id, None)
            self._note(pointer.name)
            logger.info("%s: %s is open, %s entries", pointer.id, published.snapshot, len(snapshot))
            return

    def _open(self, pointer: IndexPointer, name: str) -> Index:
        snapshot = store_in(self._settings, pointer.owner, pointer.name).open(name)
        _warm_up(snapshot)
        return snapshot

    def _note_failure(self, pointer: IndexPointer, published: Published, error: Exception) -> None:
        logger.warning("%s: %s can't be opened: %s", pointer.id, published.snapshot, error)
        if isinstance(error, SnapshotDamaged):
            self._retry_at[published.snapshot] = time.monotonic() + DAMAGED_SECONDS
        if published.snapshot == pointer.snapshot:
            self._opened.note_trouble(pointer.id, _in_words(error))


def _in_words(error: Exception) -> str:
    return error.message if isinstance(error, VectorsError) else f"{type(error).__name__}: {error}"


def _warm_up(snapshot: Index) -> None:
    """Search once in each way, so that no query pays for what is touched or loaded first."""
    schema = snapshot.schema
    for name, space in schema.spaces.items():
        snapshot.search(Query(near={name: np.ones(space.dimensions, np.float32)}))
    for entry in snapshot.find_entries(snapshot.matching((), 1)).values():
        if texts := [text for some in entry.texts.values() for text in some]:
            snapshot.search(Query(text=" ".join(texts)))
