"""The audit log's pen: entries are gathered, so that no request waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from datetime import timedelta

from anyio import CancelScope, to_thread

from api.access.visit import Visit
from api.connection import Connection
from shared.clock import now
from shared.errors import ServiceUnavailable
from shared.store import audit
from shared.store.audit import Entry
from shared.store.database import StoreError

logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.2
BATCH_MAX = 500
WAITING_MAX = 20_000  # entries kept while MongoDB is away
STRANGER_SECONDS = 10.0
"""Of strangers at one address who are refused for one reason, so often one is written down: no flood fills the log."""
STRANGERS_MAX = 10_000


class AuditLog:
    """Writes down who did what, and who was refused."""

    def __init__(self, connection: Connection, keep: timedelta) -> None:
        """Keep entries for so long."""
        self._connection, self._keep = connection, keep
        self._waiting: deque[Entry] = deque()
        self._arrived = asyncio.Event()
        self._strangers: dict[tuple[str | None, str], float] = {}
        self._lost = 0

    def note(self, visit: Visit, *, status: int | None = None) -> None:
        """Write down what a visitor did."""
        if visit.principal is None and self._is_known_stranger(visit):
            return
        if len(self._waiting) >= WAITING_MAX:
            self._lost += 1
            return
        moment = now()
        who = visit.principal
        self._waiting.append(
            Entry(
                at=moment,
                owner=None if who is None else who.owner,
                actor=None if who is None else who.actor,
                door=visit.door,
                action=visit.action or "unknown",
                target=visit.target,
                address=visit.address,
                outcome=visit.outcome,
                status=status,
                expires_at=moment + self._keep,
            )
        )
        self._arrived.set()

    def _is_known_stranger(self, visit: Visit) -> bool:
        """Whether somebody was refused so at this address a moment ago."""
        moment, place = time.monotonic(), (visit.address, visit.outcome)
        if moment - self._strangers.get(place, -STRANGER_SECONDS) < STRANGER_SECONDS:
            return True
        if len(self._strangers) >= STRANGERS_MAX:
            self._strangers.clear()
        self._strangers[place] = moment
        return False

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        try:
            while True:
                await self._arrived.wait()
                await asyncio.sleep(GATHER_SECONDS)
                self._arrived.clear()
                await self._write()
        finally:
            with CancelScope(shield=True):
                await self._write()

    async def _write(self) -> None:
        while batch := [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]:
            try:
                await to_thread.run_sync(audit.insert, self._connection.db, batch)
            except (StoreError, ServiceUnavailable) as error:
                if isinstance(error, StoreError):
                    self._connection.note(error)
                self._waiting.extendleft(reversed(batch))
                self._arrived.set()  # to be tried again
                return
        if self._lost:
            logger.error("%s entries of the audit log were lost while MongoDB did not answer", self._lost)
            self._lost = 0
