"""The thread beside the work: it renews the lease, hears of a cancel, and ends a process that hangs."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared import logs
from shared.clock import now
from shared.jobs import get_kind
from shared.store import chunks, jobs, slots
from shared.store.chunks import Chunk
from shared.store.database import StoreError
from shared.store.slots import Slot
from workers.engine.process import WorkerProcess
from workers.memory import resident_mb

logger = logging.getLogger(__name__)

STDERR = 2
BEAT_SECONDS = 1.0
"""Between two beats while there is something to look after: so soon a cancel is heard of."""

PRESENCE_SECONDS = 5.0
"""Between two signs of life, the only reason to wake up that an idle process has."""


class Claim:
    """A chunk in this process's hands, as seen from the working thread and from the heartbeat's."""

    def __init__(self, chunk: Chunk) -> None:
        """Start with a fresh lease."""
        self.chunk = chunk
        self.renewed_at = time.monotonic()
        self.position: int | None = None
        self.item_started_at = self.renewed_at
        self.is_lost = False
        self.is_cancelled = False

    def begin(self, position: int) -> None:
        """Note that the item at `position` is in work from now on."""
        self.item_started_at = time.monotonic()
        self.position = position

    def end(self) -> None:
        """Note that no item is in work."""
        self.position = None


class Heartbeat:
    """Watches over the chunk that the process works on, and says that the process lives."""

    def __init__(self, process: WorkerProcess) -> None:
        """Prepare the thread; `start` runs it."""
        self._process = process
        self._claim: Claim | None = None
        self._presence_at = 0.0
        self._armed_at = 0.0
        self._ended = threading.Event()
        self._roused = threading.Event()
        self._is_dozing = False
        self._acquitted: deque[Chunk] = deque()
        self._renew_plan: Callable[[], object] | None = None
        self._plan_renewed_at = 0.0
        self._thread = threading.Thread(target=self._beat_forever, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._arm_last_resort()  # the very first item may hang before the first beat
        self._thread.start()

    def stop(self) -> None:
        """Stop beating and take the process off the list of the living."""
        self._ended.set()
        self._roused.set()
        self._thread.join(timeout=5.0)
        faulthandler.cancel_dump_traceback_later()
        try:
            self._process.progress.tell(self._process.db)
            slots.delete(self._process.db, self._process.name)
        except StoreError as error:
            logger.warning("could not sign off: %s", error)

    @contextmanager
    def watching(self, claim: Claim) -> Iterator[None]:
        """Keep a claim alive while the block runs."""
        self._claim = claim
        self._rouse()
        try:
            yield
        finally:
            self._claim = None

    def acquit(self, chunk: Chunk) -> None:
        """Take back the mark of the item that the chunk stopped at, as soon as MongoDB answers.

        Whoever takes the chunk over would take the mark for that of a process which has died in its item.
        """
        self._acquitted.append(chunk)
        self._rouse()

    @contextmanager
    def renewing(self, renew_plan: Callable[[], object]) -> Iterator[None]:
        """Call `renew_plan` at a third of each lease while the block runs."""
        self._renew_plan, self._plan_renewed_at = renew_plan, time.monotonic()
        self._rouse()
        try:
            yield
        finally:
            self._renew_plan = None

    def _beat_forever(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self._beat()
            self._doze()

    def _beat(self) -> None:
        if time.monotonic() - self._armed_at >= self._process.settings.lease_seconds:
            self._arm_last_resort()
        claim = self._claim
        try:
            if claim is not None:
                with logs.about(job=claim.chunk.job_id, chunk=claim.chunk.n):
                    self._look_after(claim)
            self._look_after_plan()
            self._take_marks_back()
            self._process.progress.tell(self._process.db)
            self._show_presence(claim)
        except StoreError as error:
            logger.warning("heartbeat: MongoDB does not answer: %s", error)
        if claim is not None:
            self._check_lease(claim)

    def _doze(self) -> None:
        """Wait on while there is nothing to look after, until there is, or the next sign of life is due."""
        self._roused.clear()
        self._is_dozing = True  # before the look: who brings something up to here is seen, who comes later rouses
        has_claim = self._claim is not None or self._renew_plan is not None
        is_busy = has_claim or bool(self._acquitted) or self._process.progress.is_untold
        if not is_busy and not self._ended.is_set():
            self._roused.wait(PRESENCE_SECONDS - BEAT_SECONDS)
        self._is_dozing = False

    def _rouse(self) -> None:
        if self._is_dozing:  # a busy process's heart is awake, and costs a small chunk nothing
            self._roused.set()

    def _arm_last_resort(self) -> None:
        """Have the process ended when even this thread can't run: C code that hangs with the interpreter's lock.

        Each arming starts a thread, so one has to do for a lease, and until the beat after that.
        """
        settings = self._process.settings
        seconds = settings.item_seconds_max + 2 * settings.lease_seconds + PRESENCE_SECONDS
        faulthandler.dump_traceback_later(seconds, exit=True, file=STDERR)
        self._armed_at = time.monotonic()

    def _look_after(self, claim: Claim) -> None:
        self._stop_hung_item(claim)
        lease = self._process.settings.lease
        if time.monotonic() - claim.renewed_at >= lease.total_seconds() / 3:
            asked_at = time.monotonic()
            if chunks.renew(self._process.db, claim.chunk, lease):
                claim.renewed_at = asked_at
            else:
                claim.is_lost = True
        if not claim.is_cancelled:
            claim.is_cancelled = jobs.is_cancelled(self._process.db, claim.chunk.job_id)

    def _look_after_plan(self) -> None:
        renew = self._renew_plan
        if renew is not None and time.monotonic() - self._plan_renewed_at >= self._process.settings.lease_seconds / 3:
            renew()
            self._plan_renewed_at = time.monotonic()

    def _take_marks_back(self) -> None:
        while self._acquitted:
            chunks.mark(self._process.db, self._acquitted[0], None)
            self._acquitted.popleft()

    def _check_lease(self, claim: Claim) -> None:
        """Count a claim as lost once its lease may have run out unrenewed: somebody else may hold it by now."""
        if time.monotonic() - claim.renewed_at > self._process.settings.lease_seconds:
            claim.is_lost = True

    def _stop_hung_item(self, claim: Claim) -> None:
        position = claim.position
        limit = get_kind(claim.chunk.kind).item_seconds_max or self._process.settings.item_seconds_max
        if position is None or time.monotonic() - claim.item_started_at <= limit:
            return
        logger.error("item %d of %s took over %g s: this process ends", position, claim.chunk.id, limit)
        chunks.give_up_hung(self._process.db, claim.chunk, position)
        os.kill(os.getpid(), signal.SIGKILL)

    def _show_presence(self, claim: Claim | None) -> None:
        if time.monotonic() - self._presence_at < PRESENCE_SECONDS:
            return
        slots.save(self._process.db, self._slot(claim))
        self._presence_at = time.monotonic()

    def _slot(self, claim: Claim | None) -> Slot:
        process = self._process
        return Slot(
            id=process.name,
            worker=process.worker,
            queues=process.queues,
            job_id=claim.chunk.job_id if claim else None,
            chunk=claim.chunk.n if claim else None,
            rss_mb=round(resident_mb(), 1),
            started_at=process.started_at,
            seen_at=now(),
        )
