"""Wait for what must come true, instead of sleeping for a guessed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

STEP_SECONDS = 0.05
T = TypeVar("T")


def wait_until(predicate: Callable[[], T | None], *, seconds: float = 30.0, what: str = "it") -> T:
    """Return the predicate's first true value; fail when there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds:g} s"
        time.sleep(STEP_SECONDS)
