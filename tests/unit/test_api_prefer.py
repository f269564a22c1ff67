"""How long a client prefers to wait."""

from __future__ import annotations

import pytest

from api.jobs import wait_seconds


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ([], 0),
        (["wait=10"], 10),
        (["wait=0"], 0),
        (["Wait = 10"], 10),
        (['wait="10"'], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async; wait=10"], 10),
        (["respond-async", "wait=10"], 10),
        (["wait=50"], 50),
        (["wait=51"], 50),
        (["wait=" + "9" * 5000], 50),
        (["wait"], 0),
        (["wait="], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=soon"], 0),
        (["await=10"], 0),
        (["return=minimal"], 0),
    ],
)
def test_the_seconds_are_read_and_clamped_and_nonsense_is_ignored(prefer: list[str], seconds: int) -> None:
    assert wait_seconds(prefer) == seconds
