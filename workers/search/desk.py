"""Where searches are worked on: few at a time, with a limit on how many wait and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from shared.errors import SearchOverloaded, SearchTimedOut

Result = TypeVar("Result")


class Desk:
    """A bounded pool of threads."""

    def __init__(
        self, *, threads: int, waiting_max: int, timeout_seconds: float, note: Callable[[int, int], None]
    ) -> None:
        """Work on so many searches at a time, with so many more waiting, each for so long in all.

        `note` is told how many are worked on, and how many wait, as often as that changes.
        """
        self._threads, self._note = threads, note
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._places = threads + waiting_max
        self._timeout_seconds = timeout_seconds
        self._taken: set[Future[Any]] = set()  # touched by the event loop's thread alone

    @property
    def at_work(self) -> int:
        """How many searches are worked on or wait."""
        return len(self._taken)

    async def work(self, search: Callable[[], Result]) -> Result:
        """Return what `search` returns in a thread.

        A search that takes too long keeps its thread until it ends, for nothing can stop it; who asked goes on.

        Raises:
            SearchOverloaded: if too many wait already.
            SearchTimedOut: if it took too long.
        """
        if len(self._taken) >= self._places:
            raise SearchOverloaded(f"{len(self._taken)} searches are worked on or wait already.")
        loop = asyncio.get_running_loop()
        future = self._pool.submit(search)
        self._taken.add(future)
        self._tell()
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._let_go, done))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise SearchTimedOut(f"The search took longer than {self._timeout_seconds:g} s.") from None

    def _let_go(self, done: Future[Any]) -> None:
        self._taken.discard(done)
        self._tell()

    def _tell(self) -> None:
        at_work = min(len(self._taken), self._threads)
        self._note(at_work, len(self._taken) - at_work)

    def close(self) -> None:
        """End when the searches at work have ended; what waits is dropped."""
        self._pool.shutdown(cancel_futures=True)
