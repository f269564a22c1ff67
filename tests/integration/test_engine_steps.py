"""Work in steps: what needs everything before it begins when that has ended; and what comes after a job."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared import lifecycle
from shared.broker import Queue
from shared.items import ItemStatus
from shared.model import Db
from shared.settings import Settings
from shared.store import chunks, jobs
from shared.store.job_record import JobStatus
from tests.integration.engine import Engine, engine_on
from tests.integration.simulation import Simulation


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as one:
        yield one


def squares(count: int) -> int:
    return sum(number**2 for number in range(count))


@pytest.mark.parametrize("count", [1, 9, 10, 11, 1000])
def test_a_step_begins_when_everything_before_it_has_ended(engine: Engine, count: int) -> None:
    job = engine.drive(engine.submit("staged", items=count).id)

    assert job.status is JobStatus.SUCCEEDED
    assert job.progress.total == count + 1
    last = engine.items(job.id)[-1]
    assert last.result == {"number": None, "total": squares(count)}


def test_a_step_is_not_laid_out_while_anything_before_it_is_live(engine: Engine) -> None:
    job = engine.submit("staged", items=10)
    engine.plan(job.id)
    while engine.live(job.id) > 1:
        engine.run()
    engine.plan(job.id)
    assert engine.live(job.id) == 1
    assert engine.db[chunks.COLLECTION].count_documents({"queue": Queue.INDEX.value}) == 0

    engine.run()
    engine.plan(job.id)

    (step,) = engine.db[chunks.COLLECTION].find({"jobId": job.id})
    assert step["queue"] == Queue.INDEX.value
    assert len(step["items"]) == 1


def test_a_retry_repeats_what_failed_before_the_step(engine: Engine) -> None:
    """The step itself went well with what there was; only the failed item is good afterwards."""
    first = engine.drive(engine.submit("staged", items=20, failsOnce=(7,)).id)
    assert first.status is JobStatus.PARTIAL

    lifecycle.retry(engine.db, first.id)
    second = engine.drive(first.id)

    assert second.status is JobStatus.SUCCEEDED
    assert second.progress.total == 21


def test_a_retry_repeats_a_step_that_lived_on_what_failed_where_the_kind_wants_it(engine: Engine) -> None:
    first = engine.drive(engine.submit("staged_again", items=20, failsOnce=(7,)).id)
    assert first.status is JobStatus.PARTIAL
    assert (first.progress.succeeded, first.progress.failed) == (20, 1)

    again = lifecycle.retry(engine.db, first.id)
    assert again.progress.succeeded == 19
    second = engine.drive(first.id)

    assert second.status is JobStatus.SUCCEEDED
    assert (second.progress.succeeded, second.progress.cancelled, second.progress.total) == (21, 0, 21)
    last = engine.items(first.id)[-1]
    assert last.result == {"number": None, "total": squares(20)}


def test_doorbells_alone_bring_a_job_through_its_steps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Simulation(engine, monkeypatch)
    job = engine.submit("staged", items=200)
    engine.plan(job.id)

    world.answer()

    assert engine.job(job.id).status is JobStatus.SUCCEEDED


def test_the_reaper_brings_a_job_through_its_steps_when_every_doorbell_is_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Simulation(engine, monkeypatch)
    job = engine.submit("staged", items=30)
    engine.plan(job.id)
    world.lose_everything()

    assert world.run_until_end(job.id).status is JobStatus.SUCCEEDED


def test_work_that_can_not_begin_yet_goes_back_and_comes_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Simulation(engine, monkeypatch)
    job = engine.submit("staged", items=3, waitsOnce=True, waitSeconds=0.2)
    engine.plan(job.id)
    world.answer()
    assert engine.job(job.id).status is JobStatus.RUNNING
    (waiting,) = engine.db[chunks.COLLECTION].find({"jobId": job.id})
    assert waiting["process"] is None
    assert waiting["attempts"] == 0

    assert world.run_until_end(job.id).status is JobStatus.SUCCEEDED


# What there may be none of, and what comes after


def test_a_kind_may_have_nothing_to_do(engine: Engine) -> None:
    job = engine.drive(engine.submit("staged", items=0).id)

    assert job.status is JobStatus.SUCCEEDED
    assert job.error is None
    assert (job.progress.total, job.progress.total_is_exact) == (0, True)


def test_another_kind_that_finds_nothing_has_failed(engine: Engine) -> None:
    job = engine.drive(engine.submit("squares", items=0).id)

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "no_items"


def test_a_job_is_followed_once_by_the_one_that_its_kind_names(engine: Engine) -> None:
    job = engine.drive(engine.submit("staged", items=3, thenItems=2, userId="ada").id)
    engine.finish(job.id)

    assert job.followed_by is not None
    (follower,) = [one for one in jobs.page(engine.db, owner=job.owner, limit=10)[0] if one.kind == "noop"]
    assert (follower.id, follower.user_id) == (job.followed_by, "ada")
    assert engine.drive(follower.id).progress.succeeded == 2


def test_a_finisher_that_dies_behind_the_follow_up_submits_no_second_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("staged", items=1, thenItems=2)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "finish", lambda *_, **__: False)
        engine.plan(job.id)
        while engine.live(job.id):
            engine.run()
            engine.plan(job.id)
        engine.finish(job.id)
    assert engine.job(job.id).status is JobStatus.FINALISING

    ended = engine.drive(job.id)

    followers = [one for one in jobs.page(engine.db, owner=job.owner, limit=10)[0] if one.kind == "noop"]
    assert [one.id for one in followers] == [ended.followed_by]


def test_a_cancelled_job_is_not_followed(engine: Engine) -> None:
    job = engine.submit("staged", items=30, thenItems=2)
    engine.plan(job.id)
    engine.run()
    lifecycle.cancel(engine.db, job.id)

    ended = engine.drive(job.id)

    assert ended.status is JobStatus.CANCELLED
    assert ended.followed_by is None
    assert ended.progress.cancelled > 0
    assert {item.status for item in engine.items(job.id)} <= {ItemStatus.SUCCEEDED, ItemStatus.CANCELLED}
