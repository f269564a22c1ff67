"""The intake of new jobs: those that come while others are being stored go into MongoDB together, in one command."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass

from anyio import to_thread
from bson.raw_bson import RawBSONDocument
from pymongo.errors import DuplicateKeyError, OperationFailure

from api.connection import Connection
from shared.store import jobs
from shared.store.job_record import JobRecord

BATCH_MAX = 100
BATCH_BYTES = 1 << 20
"""A job that is larger goes alone, so that one that is too large for MongoDB hinders none but itself."""


@dataclass(frozen=True, kw_only=True)
class _Arrival:
    """A job at the door, and whoever waits for it to be stored."""

    document: RawBSONDocument
    is_new: asyncio.Future[bool]
    context: Context  # of the request, with its trace

    def settle(self, refusal: Exception | None) -> None:
        """Tell who waits what became of the job."""
        if self.is_new.done():  # the request was given up
            return
        if refusal is None or isinstance(refusal, DuplicateKeyError):
            self.is_new.set_result(refusal is None)
        else:
            self.is_new.set_exception(refusal)


class Intake:
    """Stores new jobs; a thread, a command and a commit cost more than a job, and many jobs share them.

    Nobody waits for others to come: one job alone is stored at once.
    """

    def __init__(self, connection: Connection) -> None:
        """Store through this connection, once `run` does so."""
        self._connection = connection
        self._waiting: deque[_Arrival] = deque()
        self._arrived = asyncio.Event()

    async def insert(self, job: JobRecord) -> bool:
        """Store a new job; False when its id or idempotency key is taken already.

        Raises `StoreError`, `ServiceUnavailable`, `BSONError`, `OverflowError`.
        """
        is_new: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Arrival(document=jobs.encoded(job), is_new=is_new, context=copy_context()))
        self._arrived.set()
        return await is_new

    async def run(self) -> None:
        """Store what arrives, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while batch := self._next_batch():
                await self._store(batch)

    def _next_batch(self) -> Sequence[_Arrival]:
        """Take the next arrivals, one at least where there are any."""
        batch: list[_Arrival] = []
        size = 0
        while self._waiting and len(batch) < BATCH_MAX:
            size += len(self._waiting[0].document.raw)
            if batch and size > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _store(self, batch: Sequence[_Arrival]) -> None:
        try:
            refusals = await to_thread.run_sync(self._insert, batch)
        except Exception as error:  # noqa: BLE001 - the boundary of several requests, to each of which it is the answer
            self._connection.note(error)  # before the next batch waits for a server that is down
            for arrival in batch:
                arrival.settle(error)
        else:
            for place, arrival in enumerate(batch):
                arrival.settle(refusals.get(place))

    def _insert(self, batch: Sequence[_Arrival]) -> dict[int, OperationFailure]:
        documents = [arrival.document for arrival in batch]
        # One command has one place in a trace: it is the first one's.
        return dict(batch[0].context.run(jobs.insert_together, self._connection.db, documents))
