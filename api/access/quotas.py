"""The quota of open jobs at the door: counted in MongoDB once a second for each owner, and on from there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from shared import quotas
from shared.model import Db
from shared.settings import Settings

BELIEVED_SECONDS = 1.0
OWNERS_MAX = 10_000


@dataclass(kw_only=True)
class _Room:
    left: int
    until: float


class OpenJobs:
    """Lets an owner submit as long as there is room; several front doors may together exceed it by a second's jobs."""

    def __init__(self, settings: Settings) -> None:
        """Know the quota."""
        self._settings = settings
        self._rooms: dict[str, _Room] = {}
        self._lock = Lock()

    def take(self, db: Db, owner: str) -> None:
        """Make room for one more job of this owner. Raises `QuotaExceeded`."""
        with self._lock:
            room = self._rooms.get(owner)
            if room is not None and room.left > 0 and time.monotonic() < room.until:
                room.left -= 1
                return
        left = quotas.check_open_jobs(db, owner, self._settings)
        with self._lock:
            if len(self._rooms) >= OWNERS_MAX:
                self._rooms.clear()
            self._rooms[owner] = _Room(left=left - 1, until=time.monotonic() + BELIEVED_SECONDS)
