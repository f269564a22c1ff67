"""The line before the search server: few are asked for at a time, each key in its turn, and too many are refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from shared.errors import SearchOverloaded

Line = deque[asyncio.Future[None]]


class Turns:
    """A bounded line for each holder, served in rotation; touched by the event loop's thread alone.

    A holder that sends many waits behind itself, and holds nobody else up (fair queueing; where there is no more room,
    the longest line is shortened from behind).
    """

    def __init__(
        self, *, at_once: int, waiting_max: int, waiting_seconds: float, note: Callable[[int, int], None]
    ) -> None:
        """Let so many have their turn at a time, and so many more wait, each for so long.

        `note` is told how many have their turn, and how many wait, as often as that changes.
        """
        self._at_once, self._waiting_max, self._waiting_seconds = at_once, waiting_max, waiting_seconds
        self._note = note
        self._taken = self._waiting = 0
        self._lines: dict[str, Line] = {}  # the next one first; none is empty

    @asynccontextmanager
    async def turn(self, holder: str) -> AsyncIterator[None]:
        """Have a turn for the length of the block.

        Raises:
            SearchOverloaded: if too many wait, or it does not come in time.
        """
        if self._taken < self._at_once:
            self._taken += 1
            self._tell()
        else:
            await self._wait(holder)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, holder: str) -> None:
        if self._waiting >= self._waiting_max:
            self._make_room(holder)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(holder, deque()).append(turn)
        self._waiting += 1
        self._tell()
        try:
            async with asyncio.timeout(self._waiting_seconds):
                await turn
        except TimeoutError:
            self._leave(holder, turn)
            raise SearchOverloaded(f"No turn came within {self._waiting_seconds:g} s.") from None
        except asyncio.CancelledError:
            self._leave(holder, turn)
            raise

    def _make_room(self, holder: str) -> None:
        """Refuse the last of the longest line, or whoever comes where its own is no shorter.

        Raises:
            SearchOverloaded: for whoever comes.
        """
        refusal = SearchOverloaded(f"{self._taken + self._waiting} searches are asked for or wait already.")
        longest = max(self._lines, key=lambda one: len(self._lines[one]), default=holder)
        if len(self._lines.get(longest, ())) <= len(self._lines.get(holder, ())) + 1:
            raise refusal
        last = self._lines[longest][-1]
        self._remove(longest, last)
        if not last.done():  # or it is about to step out
            last.set_exception(refusal)

    def _leave(self, holder: str, turn: asyncio.Future[None]) -> None:
        """Step out of the line; who was called up in that very moment lets the next one go."""
        if turn in self._lines.get(holder, ()):
            self._remove(holder, turn)
        elif not turn.cancelled() and turn.exception() is None:
            self._pass_on()

    def _remove(self, holder: str, turn: asyncio.Future[None]) -> None:
        line = self._lines[holder]
        line.remove(turn)
        if not line:
            del self._lines[holder]
        self._waiting -= 1
        self._tell()

    def _pass_on(self) -> None:
        """Let the next one go, if anybody waits: the first of each line in rotation."""
        while self._lines:
            holder = next(iter(self._lines))
            turn = self._lines[holder][0]
            self._remove(holder, turn)
            if holder in self._lines:
                self._lines[holder] = self._lines.pop(holder)
            if not turn.done():  # or it is about to step out
                turn.set_result(None)
                return
        self._taken -= 1
        self._tell()

    def _tell(self) -> None:
        self._note(self._taken, self._waiting)
