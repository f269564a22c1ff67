"""The quota of open jobs at the door: counted in MongoDB now and then, and on from there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Lock

from shared import quotas
from shared.errors import QuotaExceeded
from shared.model import Db
from shared.settings import Settings

ROOM_PART = 4
"""Of the room that is left, a front door fills this part before it counts anew: there may be others."""
ROOM_SECONDS = 10.0
FULL_SECONDS = 1.0
"""For so long a full house is believed to be full: who knocks again and again must not have it counted each time."""
OWNERS_MAX = 10_000


@dataclass(kw_only=True)
class _Room:
    left: int
    until: float
    refusal: str | None = None


class OpenJobs:
    """Lets an owner submit as long as there is room."""

    def __init__(self, settings: Settings) -> None:
        """Know the quota."""
        self._settings = settings
        self._rooms: dict[str, _Room] = {}
        self._lock = Lock()

    def take(self, db: Db, owner: str) -> None:
        """Make room for one more job of this owner. Raises `QuotaExceeded`."""
        room = self._rooms.get(owner)
        if room is None or time.monotonic() >= room.until or not (room.left or room.refusal):
            room = self._counted(db, owner)
        if room.refusal is not None:
            raise QuotaExceeded(room.refusal, retry_after_seconds=quotas.RETRY_AFTER_SECONDS)
        with self._lock:
            room.left = max(room.left - 1, 0)

    def _counted(self, db: Db, owner: str) -> _Room:
        moment = time.monotonic()
        try:
            left = quotas.check_open_jobs(db, owner, self._settings)
        except QuotaExceeded as refusal:
            room = _Room(left=0, until=moment + FULL_SECONDS, refusal=refusal.message)
        else:
            room = _Room(left=max(left // ROOM_PART, 1), until=moment + ROOM_SECONDS)
        if len(self._rooms) >= OWNERS_MAX:
            self._rooms.clear()
        self._rooms[owner] = room
        return room
