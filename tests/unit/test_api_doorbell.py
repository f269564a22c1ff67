"""The doorbell's thread: what it joins, and what it survives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from threading import Event

import pytest

from api import doorbell
from api.doorbell import PLAN_IDS_MAX, Doorbell
from tests.waiting import wait_until


class Line:
    """In place of the broker: takes down each ring, can be held, and can be broken."""

    def __init__(self) -> None:
        self.plans: list[list[str]] = []
        self.ends: list[str] = []
        self.error: Exception | None = None
        self.failures = 0
        self.is_free = Event()
        self.is_free.set()

    def plan(self, job_ids: list[str]) -> None:
        self.is_free.wait()
        if self.error is not None:
            self.failures += 1
            raise self.error
        self.plans.append(job_ids)

    def wait_for_failures(self, count: int) -> None:
        wait_until(lambda: self.failures == count)

    def finish(self, job_id: str) -> None:
        self.ends.append(job_id)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    found = Line()
    monkeypatch.setattr(doorbell, "ring_plan", found.plan)
    monkeypatch.setattr(doorbell, "ring_finish", found.finish)
    return found


@pytest.fixture
def bell(line: Line) -> Iterator[Doorbell]:
    found = Doorbell()
    found.start()
    yield found
    line.is_free.set()
    found.close()


def test_jobs_that_come_while_a_message_is_on_its_way_go_out_together(bell: Doorbell, line: Line) -> None:
    # Given a message that takes its time
    line.is_free.clear()
    bell.plan("first")
    # When more jobs come than one message may name
    later = [f"job {n}" for n in range(PLAN_IDS_MAX + 50)]
    for job_id in later:
        bell.plan(job_id)
    line.is_free.set()
    # Then they go out in as few messages as may be, each job once, in order
    wait_until(lambda: sum(map(len, line.plans)) == len(later) + 1)
    assert [job_id for plan in line.plans for job_id in plan] == ["first", *later]
    assert len(line.plans) <= 3
    assert max(map(len, line.plans)) <= PLAN_IDS_MAX


def test_a_job_is_rung_to_its_end_by_itself(bell: Doorbell, line: Line) -> None:
    bell.finish("job")

    wait_until(lambda: line.ends == ["job"])
    assert line.plans == []


def test_what_waits_is_sent_before_the_bell_is_closed(line: Line) -> None:
    bell = Doorbell()
    bell.start()
    bell.plan("job")
    bell.close()

    assert line.plans == [["job"]]


def test_an_outage_is_logged_once_and_the_next_ring_goes_out(
    bell: Doorbell, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.error = ConnectionError("nobody there")
    with caplog.at_level(logging.WARNING, logger="api.doorbell"):
        for failures, job_id in enumerate(("one", "two", "three"), start=1):
            bell.plan(job_id)
            line.wait_for_failures(failures)
        line.error = None
        bell.plan("four")
        wait_until(lambda: line.plans == [["four"]])

    assert len(caplog.records) == 1


def test_what_nobody_expected_is_logged_and_survived(
    bell: Doorbell, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.error = ZeroDivisionError()
    with caplog.at_level(logging.ERROR, logger="api.doorbell"):
        bell.plan("one")
        wait_until(lambda: caplog.records)
        line.error = None
        bell.plan("two")
        wait_until(lambda: line.plans == [["two"]])

    assert caplog.records[0].exc_info is not None


def test_rings_beyond_what_can_be_kept_are_dropped(bell: Doorbell, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "WAITING_MAX", 3)
    line.is_free.clear()
    bell.plan("held")
    for n in range(100):
        bell.plan(f"job {n}")
    line.is_free.set()
    bell.close()

    assert 1 < sum(map(len, line.plans)) < 10
