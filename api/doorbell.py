"""Rings for jobs from one thread of its own, so that no request ever waits for the broker."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic, sleep

from shared.broker import BrokerError, ring_finish, ring_plan

logger = logging.getLogger(__name__)

PLAN_IDS_MAX = 200  # job ids in one message
WAITING_MAX = 10_000  # rings kept while the broker hangs; the workers' reaper makes up for the rest
GATHER_SECONDS = 0.01
BUSY_GATHER_SECONDS = 0.05
"""A message costs as much as storing a job, so there are at most some twenty a second however many jobs come in."""
CLOSE_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class _Ring:
    job_id: str
    is_over: bool = False  # ask for the job's end, not for its plan


class Doorbell:
    """Tells the workers about jobs, best effort: a ring that fails is dropped, for the reaper rings again.

    Jobs that arrive while a message is on its way, or within a few milliseconds, go out together in the next.
    """

    def __init__(self) -> None:
        self._rings: SimpleQueue[_Ring | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="doorbell", daemon=True)
        self._is_failing = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Send what is waiting and stop, within a few seconds."""
        self._rings.put(None)
        self._thread.join(CLOSE_SECONDS)

    def plan(self, job_id: str) -> None:
        """Ask, soon, for the job's next chunks to be laid out."""
        self._put(_Ring(job_id=job_id))

    def finish(self, job_id: str) -> None:
        """Ask, soon, for the job to be brought to its end."""
        self._put(_Ring(job_id=job_id, is_over=True))

    def _put(self, ring: _Ring) -> None:
        if self._rings.qsize() < WAITING_MAX:
            self._rings.put(ring)

    def _run(self) -> None:
        batch: list[_Ring | None] = []
        sent_at = -BUSY_GATHER_SECONDS
        while None not in batch:
            batch = [self._rings.get()]
            # Asleep, not waiting for each: a thread that wakes up for every job would slow the requests down.
            sleep(BUSY_GATHER_SECONDS if monotonic() - sent_at < BUSY_GATHER_SECONDS else GATHER_SECONDS)
            batch += self._waiting(PLAN_IDS_MAX - 1)
            try:
                self._send([ring for ring in batch if ring is not None])
            except Exception:
                logger.exception("%s rings were lost", len(batch))
            sent_at = monotonic()

    def _waiting(self, count: int) -> list[_Ring | None]:
        """Return up to `count` of the rings that have come in the meantime."""
        found: list[_Ring | None] = []
        with suppress(Empty):
            while len(found) < count:
                found.append(self._rings.get_nowait())
        return found

    def _send(self, batch: list[_Ring]) -> None:
        plans = [ring.job_id for ring in batch if not ring.is_over]
        try:
            if plans:
                ring_plan(plans)
            for ring in batch:
                if ring.is_over:
                    ring_finish(ring.job_id)
        except BrokerError as error:
            if not self._is_failing:
                logger.warning("the broker does not answer, the workers' reaper will ring: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False
