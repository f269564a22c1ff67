"""The quota of open jobs at the door: counted in MongoDB now and then, and on from there."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from anyio import to_thread

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
    left: int = 0
    until: float = 0.0
    refusal: str | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # to count: who comes meanwhile waits for the figure

    @property
    def is_known(self) -> bool:
        return time.monotonic() < self.until and bool(self.left or self.refusal)


class OpenJobs:
    """Lets an owner submit as long as there is room."""

    def __init__(self, settings: Settings) -> None:
        """Know the quota."""
        self._settings = settings
        self._rooms: dict[str, _Room] = {}

    async def take(self, db: Db, owner: str) -> None:
        """Make room for one more job of this owner. Raises `QuotaExceeded`."""
        room = self._rooms.get(owner) or self._new_room(owner)
        while not room.is_known:
            async with room.turn:
                if not room.is_known:
                    await to_thread.run_sync(self._count, room, db, owner)
        if room.refusal is not None:
            raise QuotaExceeded(room.refusal, retry_after_seconds=quotas.RETRY_AFTER_SECONDS)
        room.left -= 1

    def _new_room(self, owner: str) -> _Room:
        if len(self._rooms) >= OWNERS_MAX:
            self._rooms.clear()
        self._rooms[owner] = room = _Room()
        return room

    def _count(self, room: _Room, db: Db, owner: str) -> None:
        moment = time.monotonic()
        try:
            left = quotas.check_open_jobs(db, owner, self._settings)
        except QuotaExceeded as refusal:
            room.left, room.until, room.refusal = 0, moment + FULL_SECONDS, refusal.message
        else:
            room.left, room.until, room.refusal = max(left // ROOM_PART, 1), moment + ROOM_SECONDS, None
