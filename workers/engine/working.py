"""Work: bring the items of one claimed chunk to their outcomes, one by one, whatever their work does."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from shared.dotted import resolve
from shared.errors import ItemFailed, NotYet, WorkNotFound, in_words
from shared.items import ItemOutcome, ItemStatus, failed
from shared.jobs.job import JobContext, JobKind, JobRequest, Work
from shared.store import chunks
from shared.store.database import StoreError
from shared.store.outcomes import StoredItem
from workers.engine.heartbeat import Claim
from workers.engine.process import stopping
from workers.engine.recording import CANCELLED, stored

logger = logging.getLogger(__name__)


class GivenBack(Exception):
    """The chunk is not ours to finish: its lease was lost, or the worker is stopping."""


def work_of(kind: JobKind) -> Work:
    """Return the function that does a kind's work. Raises `WorkNotFound`."""
    try:
        work: Work = resolve(kind.work)
    except WorkNotFound as error:
        raise WorkNotFound(f"The job kind {kind.name!r} can't be worked on: {error.message}") from error.__cause__
    return work


class Worker:
    """Works through one chunk from its first item without an outcome; `ended` and `good` grow as it goes."""

    def __init__(self, kind: JobKind, request: JobRequest, claim: Claim, context: JobContext) -> None:
        """Prepare; `work` begins."""
        self.ended: list[StoredItem] = []
        self.good: list[tuple[Any, Any]] = []  # the kind's Item and Result of each good item
        self.busy_seconds = 0.0  # spent on items that were not known already
        self._work = work_of(kind)
        self._crashes_max = kind.crashes_max
        self._request = request
        self._claim = claim
        self._context = context
        self._items: Sequence[Any] = [kind.item.model_validate(planned.item) for planned in claim.chunk.items]
        self._pending: Iterator[ItemOutcome] | None = None

    def work(self) -> None:
        """Bring every item to its outcome.

        Raises:
            GivenBack, NotYet: the chunk has to stop; what has ended so far stands.
        """
        self._blame_earlier_crash()
        for position in range(len(self._claim.chunk.ended), len(self._items)):
            started = time.monotonic()
            outcome = self._outcome_at(position)
            if outcome.status is not ItemStatus.CACHED:
                self.busy_seconds += time.monotonic() - started
            self._keep(position, outcome)
        self._mark(None)
        if self._claim.is_lost:
            raise GivenBack("its lease was lost")

    def _keep(self, position: int, outcome: ItemOutcome) -> None:
        self.ended.append(stored(self._claim.chunk.items[position], outcome))
        if outcome.status.is_good:
            self.good.append((self._items[position], outcome.result))

    def _blame_earlier_crash(self) -> None:
        """Count the item that the chunk's last worker was marked at when it died."""
        chunk = self._claim.chunk
        if chunk.current is None:
            return
        chunks.blame(self._context.db, chunk, chunk.current)
        crashes = {**chunk.crashes, str(chunk.current): chunk.crashes.get(str(chunk.current), 0) + 1}
        self._claim.chunk = chunk.model_copy(update={"current": None, "crashes": crashes})

    def _outcome_at(self, position: int) -> ItemOutcome:
        left_out = self._left_out(position)
        if left_out is not None:
            self._pending = None
            return left_out
        if self._claim.is_cancelled:
            return CANCELLED
        self._check_still_ours()
        self._mark(position)
        if self._pending is None:
            batch = self._items[position : self._next_left_out(position)]
            self._pending = self._work(self._request, batch, self._context)
        self._claim.begin(position)
        try:
            return self._next_outcome(self._pending)
        finally:
            self._claim.end()

    def _check_still_ours(self) -> None:
        if self._claim.is_lost:
            raise GivenBack("its lease was lost")
        if stopping.is_set():
            raise GivenBack("the worker is stopping")

    def _mark(self, position: int | None) -> None:
        """From the second attempt on, note which item is begun, if any, to know which one a worker dies in."""
        chunk = self._claim.chunk
        if chunk.attempts > 1 and not chunks.mark(self._context.db, chunk, position):
            self._claim.is_lost = True
            raise GivenBack("its lease was lost")

    def _left_out(self, position: int) -> ItemOutcome | None:
        """Return the outcome of an item that must not be tried again, or None."""
        chunk = self._claim.chunk
        if position in chunk.hung:
            return failed("timed_out", "The item took too long, so it was stopped, with the process that worked on it.")
        if chunk.crashes.get(str(position), 0) >= self._crashes_max:
            return failed("poison", f"The worker died in this item {self._crashes_max} times, so it is left out.")
        return None

    def _next_left_out(self, position: int) -> int:
        later = (place for place in range(position + 1, len(self._items)) if self._left_out(place))
        return next(later, len(self._items))

    def _next_outcome(self, pending: Iterator[ItemOutcome]) -> ItemOutcome:
        """Return the next item's outcome; where the work broke off, it begins anew behind this item."""
        try:
            return next(pending)
        except (StoreError, NotYet):
            raise
        except ItemFailed as error:
            outcome = failed(error.item_code, error.message)
        except StopIteration:
            outcome = failed("no_outcome", "The work on this chunk ended before it came to this item.")
        except MemoryError:
            outcome = failed("out_of_memory", "It needs more memory than a worker may have: BACKLINE_WORKER_MEMORY_MB.")
        except Exception as error:  # an item's boundary: its failure is its outcome, not the chunk's
            logger.exception("an item failed in a way that its kind does not know")
            outcome = failed("unexpected", in_words(error))
        self._pending = None
        return outcome
