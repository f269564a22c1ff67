from __future__ import annotations

import pytest

from api.cli.errors import Interrupted, NotReachable
from api.cli.following import goes_on


def test_ctrl_c_says_that_the_jobs_go_on_and_how_to_follow_or_stop_them() -> None:
    with pytest.raises(Interrupted) as caught, goes_on(["job_1", "job_2"]):
        raise KeyboardInterrupt
    assert caught.value.message == "No longer watching; job_1, job_2 go on."
    assert "`backline jobs watch job_1 job_2`" in caught.value.hint
    assert "`backline jobs cancel job_1 job_2`" in caught.value.hint


def test_many_jobs_are_counted_rather_than_named() -> None:
    with pytest.raises(Interrupted, match="5 jobs go on"), goes_on([f"job_{n}" for n in range(5)]):
        raise KeyboardInterrupt


def test_ctrl_c_before_anything_was_submitted_says_so() -> None:
    with pytest.raises(Interrupted, match="nothing was submitted"), goes_on([]):
        raise KeyboardInterrupt


def test_an_outage_says_how_to_find_the_job_again() -> None:
    with pytest.raises(NotReachable) as caught, goes_on(["job_1"]):
        raise NotReachable("No Backline answers.")
    assert caught.value.hint == "Once it is back, job_1 goes on: `backline jobs watch job_1`."


def test_an_outage_before_anything_was_submitted_says_how_to_start_one() -> None:
    with pytest.raises(NotReachable) as caught, goes_on([]):
        raise NotReachable("No Backline answers.")
    assert "backline up" in caught.value.hint
