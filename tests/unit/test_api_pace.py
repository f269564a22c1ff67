"""How long the rest of a job takes, as it is foretold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from api.documents import job_document
from shared.clock import now
from shared.store.job_record import JobRecord, JobStatus, PaceMark, Progress


def eta(marks: list[tuple[float, int]], *, status: JobStatus = JobStatus.RUNNING, **counts: Any) -> float | None:
    """Return the seconds that a job of 100 items is said to need, given how far it was so many seconds ago."""
    moment = now()
    job = JobRecord(
        id="job_1",
        kind="squares",
        owner="local",
        user_id="ada",
        request={},
        status=status,
        progress=Progress(total=100, total_is_exact=True, **counts),
        marks=tuple(PaceMark(at=moment - timedelta(seconds=seconds), done=done) for seconds, done in marks),
        started_at=moment - timedelta(seconds=60),
        created_at=moment,
        updated_at=moment,
    )
    return job_document(job).progress.eta_seconds


def test_the_pace_since_the_start_serves_a_young_job() -> None:
    assert eta([(4, 0)], succeeded=19, failed=1) == pytest.approx(16, abs=0.5)


def test_an_older_jobs_pace_is_that_of_the_last_seconds() -> None:
    assert eta([(30, 10), (10, 40)], succeeded=50) == pytest.approx(50, abs=0.5)


def test_a_mark_that_was_only_just_set_is_not_believed_yet() -> None:
    assert eta([(20, 40), (0.1, 49)], succeeded=50) == pytest.approx(100, abs=1)


def test_known_items_in_front_of_new_ones_foretell_nothing() -> None:
    assert eta([(4, 0)], succeeded=1, cached=49) is None


def test_known_items_that_lie_further_back_than_the_pace_do_no_harm() -> None:
    assert eta([(25, 0), (10, 55)], succeeded=10, cached=50) == pytest.approx(80, abs=1)


@pytest.mark.parametrize(
    ("status", "marks"),
    [
        (JobStatus.QUEUED, [(4.0, 0)]),
        (JobStatus.CANCELLED, [(4.0, 0)]),
        (JobStatus.RUNNING, []),
        (JobStatus.RUNNING, [(9.0, 20)]),
    ],
)
def test_nothing_is_foretold_of_a_job_that_does_not_move(status: JobStatus, marks: list[tuple[float, int]]) -> None:
    assert eta(marks, status=status, succeeded=20) is None


def test_the_marks_move_on_every_fifteen_seconds_and_two_are_kept() -> None:
    start = now()
    job = JobRecord(id="j", kind="k", owner="o", user_id="u", request={}, created_at=start, updated_at=start)
    kept = []
    for seconds in range(0, 61, 5):
        marks = job.marks_at(start + timedelta(seconds=seconds))
        job = job.model_copy(update={"marks": marks, "progress": Progress(succeeded=seconds)})
        kept.append([mark.done for mark in marks])
    assert kept[:5] == [[0], [0], [0], [0, 10], [0, 10]]
    assert kept[-1] == [40, 55]
