"""Turns before the search server: in rotation between holders, so many at once, so many waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from api.turns import Turns
from shared.errors import SearchOverloaded

REFUSED = "refused"


@dataclass
class Line:
    """Turns, and what became of those who wanted one, in the order in which it did."""

    at_once: int = 1
    waiting_max: int = 4
    waiting_seconds: float = 60.0
    ended: list[str] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = Turns(
            at_once=self.at_once,
            waiting_max=self.waiting_max,
            waiting_seconds=self.waiting_seconds,
            note=lambda taken, waiting: self.told.append((taken, waiting)),
        )
        self.go_on = asyncio.Event()

    async def come(self, name: str) -> None:
        """Take a turn for the holder that the name begins with, until `go_on`."""
        try:
            async with self.turns.turn(name[0]):
                await self.go_on.wait()
                self.ended.append(name)
        except SearchOverloaded:
            self.ended.append(f"{name} {REFUSED}")

    async def arrive(self, names: str) -> Sequence[asyncio.Task[None]]:
        """Let these come one after the other."""
        tasks = []
        for name in names.split():
            tasks.append(asyncio.create_task(self.come(name)))
            await asyncio.sleep(0)
        return tasks


def run(steps: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await steps()

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("arriving", "ending"),
    [
        pytest.param("a1 a2 a3", "a1 a2 a3", id="one holder is served in order"),
        pytest.param("a1 a2 a3 a4 b1", "a1 a2 b1 a3 a4", id="another does not wait behind all of the first"),
        pytest.param("a1 a2 a3 b1 b2", "a1 a2 b1 a3 b2", id="holders take turns"),
        pytest.param("a1 b1 a2 c1 a3", "a1 b1 a2 c1 a3", id="whoever is new waits once for each of the others"),
        pytest.param("a1 a2 a3 a4 a5 a6", f"a6 {REFUSED} a1 a2 a3 a4 a5", id="too many are refused"),
        pytest.param("a1 a2 a3 a4 a5 b1", f"a5 {REFUSED} a1 a2 b1 a3 a4", id="the longest line makes room"),
        pytest.param("a1 a2 a3 b1 b2 c1", f"a3 {REFUSED} a1 a2 b1 c1 b2", id="of two that are as long, the first does"),
        pytest.param("a1 a2 b1 c1 d1 e1", f"e1 {REFUSED} a1 a2 b1 c1 d1", id="nobody loses the only place"),
    ],
)
def test_turns_go_round(arriving: str, ending: str) -> None:
    async def steps() -> None:
        line = Line()
        tasks = await line.arrive(arriving)
        line.go_on.set()
        await asyncio.gather(*tasks)
        assert " ".join(line.ended) == ending
        assert line.told[-1] == (0, 0)

    run(steps)


def test_so_many_have_their_turn_at_once() -> None:
    async def steps() -> None:
        line = Line(at_once=3)
        tasks = await line.arrive("a1 a2 a3 a4 a5")
        assert line.told[-1] == (3, 2)
        line.go_on.set()
        await asyncio.gather(*tasks)
        assert max(taken for taken, _ in line.told) == 3
        assert line.told[-1] == (0, 0)

    run(steps)


def test_who_goes_leaves_the_place_to_others() -> None:
    async def steps() -> None:
        line = Line(waiting_max=2)
        tasks = await line.arrive("a1 a2 b1")
        for task in tasks[:2]:  # the one whose turn it is, and the first that waits
            task.cancel()
        tasks = [*tasks, *await line.arrive("c1")]
        line.go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert line.ended == ["b1", "c1"]
        assert line.told[-1] == (0, 0)

    run(steps)


def test_who_goes_in_the_moment_of_being_called_up_calls_up_the_next() -> None:
    async def steps() -> None:
        line = Line()
        line.go_on.set()
        async with line.turns.turn("a"):
            second, third = await line.arrive("a2 a3")
        second.cancel()  # its turn has come, and it does not know yet
        await asyncio.gather(second, third, return_exceptions=True)
        assert line.ended == ["a3"]
        assert line.told[-1] == (0, 0)

    run(steps)


def test_nobody_waits_for_ever() -> None:
    async def steps() -> None:
        line = Line(waiting_seconds=0.01)
        first, second = await line.arrive("a1 b1")
        await second
        assert line.ended == [f"b1 {REFUSED}"]
        assert line.told[-1] == (1, 0)
        line.go_on.set()
        await first
        assert line.told[-1] == (0, 0)

    run(steps)


def test_where_nobody_may_wait_whoever_can_be_served_is() -> None:
    async def steps() -> None:
        line = Line(waiting_max=0)
        tasks = await line.arrive("a1 b1")
        line.go_on.set()
        await asyncio.gather(*tasks)
        assert line.ended == [f"b1 {REFUSED}", "a1"]

    run(steps)
