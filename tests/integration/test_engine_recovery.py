"""What once left a job stuck, short of items or with wrong totals: each in the order of events that did it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pymongo.errors import AutoReconnect

import tests.kinds as kinds
from shared import lifecycle
from shared.broker import Queue
from shared.clock import now
from shared.errors import QuotaSpent
from shared.items import ItemStatus, failed
from shared.jobs import known_kinds
from shared.jobs.job import JobContext, Planned
from shared.model import Cursor, Db
from shared.settings import Settings
from shared.store import chunks, jobs
from shared.store.job_record import JobError, JobRecord, JobStatus
from tests.integration.engine import Engine, engine_on
from tests.integration.simulation import Simulation
from tests.waiting import wait_until
from workers.engine import versions
from workers.engine.finishing import exact_progress
from workers.engine.reaping import reap

LEASE_SECONDS = 0.3


@pytest.fixture
def simulation(db: Db, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    brief = settings.model_copy(update={"reap_seconds": 0.01, "lease_seconds": LEASE_SECONDS, "chunk_seconds": 4.0})
    with engine_on(db, brief) as engine:
        yield Simulation(engine, monkeypatch)


@pytest.fixture
def engine(simulation: Simulation) -> Engine:
    return simulation.engine


def failing_once(function: object) -> object:
    """Return `function`, but MongoDB is away at its first call."""
    calls = iter((None,))

    def flaky(*args: object, **kwargs: object) -> object:
        if next(calls, "later") is None:
            raise AutoReconnect("a blip")
        return function(*args, **kwargs)  # type: ignore[operator]

    return flaky


def test_a_blip_between_the_commit_of_a_plan_and_its_opening_is_made_good(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=5)
    commit = chunks.commit
    broken = iter((True,))

    def commit_with_blip(db: Db, job_id: str, epoch: int, *, below: int) -> int:
        if below and next(broken, False):
            raise AutoReconnect("a blip")
        return commit(db, job_id, epoch, below=below)

    monkeypatch.setattr(chunks, "commit", commit_with_blip)

    assert simulation.run_until_end(job.id).status is JobStatus.SUCCEEDED


def test_a_job_cancelled_while_its_planner_dies_ends(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=5000)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "save_plan", failing_once(jobs.save_plan))
        with pytest.raises(AutoReconnect):
            engine.plan(job.id)
    lifecycle.cancel(engine.db, job.id)

    assert simulation.run_until_end(job.id).status is JobStatus.CANCELLED
    assert engine.live(job.id) == 0


def test_a_plan_that_breaks_off_loses_nothing_and_a_retry_goes_on_there(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = iter((True,))

    def plan_with_break(request: kinds.Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
        for planned in kinds.plan(request, cursor, context):
            if planned.cursor["next"] == 121 and next(breaks, False):
                raise RuntimeError("the folder is away")
            yield planned

    monkeypatch.setitem(known_kinds(), "squares", dataclasses.replace(kinds.SQUARES, plan=plan_with_break))
    job = engine.submit("squares", items=200)

    broken = simulation.run_until_end(job.id)

    assert (broken.status, broken.error and broken.error.code) == (JobStatus.PARTIAL, "unexpected")
    assert [item.index for item in engine.items(job.id)] == list(range(broken.plan.items))
    lifecycle.retry(engine.db, job.id)
    ended = simulation.run_until_end(job.id)
    assert (ended.status, ended.progress.succeeded, ended.error) == (JobStatus.SUCCEEDED, 200, None)
    assert sorted(item.index for item in engine.items(job.id)) == list(range(200))


def test_a_finisher_of_an_ended_epoch_leaves_the_next_one_alone(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=8, fails_once=[3, 4])
    engine.plan(job.id)
    while engine.live(job.id):
        engine.run()
    slow = jobs.get(engine.db, job.id)
    engine.finish(job.id)
    lifecycle.retry(engine.db, job.id)
    engine.plan(job.id)
    live = engine.live(job.id)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "find", lambda db, job_id: slow)
        patch.setattr(chunks, "count_live", lambda *_: 0)
        engine.finish(job.id)

    assert engine.live(job.id) == live > 0
    assert engine.job(job.id).status is JobStatus.RUNNING
    assert simulation.run_until_end(job.id).progress.succeeded == 8


def test_items_that_were_counted_but_vanished_are_not_missed(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=100)
    engine.plan(job.id)
    engine.db["jobs"].update_one({"_id": job.id}, {"$set": {"request.items": 95}})

    ended = simulation.run_until_end(job.id)

    assert (ended.status, ended.progress.total, ended.progress.succeeded) == (JobStatus.SUCCEEDED, 95, 95)


def test_work_that_can_not_be_found_is_given_up(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(known_kinds(), "squares", dataclasses.replace(kinds.SQUARES, work="tests.kinds:gone"))
    job = engine.submit("squares", items=2)

    ended = give_up(simulation, job.id)

    assert ended.status is JobStatus.FAILED
    assert {item.error.code for item in engine.items(job.id) if item.error} == {"gave_up"}
    assert ended.error is not None
    assert "'tests.kinds:gone'" in ended.error.message
    assert "AttributeError" in ended.error.message


def give_up(simulation: Simulation, job_id: str) -> JobRecord:
    """Let the job come to its end without the pauses between the attempts at a chunk."""
    engine = simulation.engine

    def ended() -> JobRecord | None:
        simulation.answer()
        engine.db["chunks"].update_many({"process": None}, {"$set": {"visibleAt": now() - timedelta(seconds=1)}})
        reap(engine.process)
        job = engine.job(job_id)
        return job if job.status.is_final else None

    return wait_until(ended, what=f"the end of {job_id}")


def test_a_kind_that_this_worker_does_not_know_ends_its_job_with_the_reason(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=2)
    engine.plan(job.id)
    # Until then it is left to the workers of a later version.
    engine.db[jobs.COLLECTION].update_one({"_id": job.id}, {"$set": {"createdAt": now() - versions.PATIENCE}})
    with monkeypatch.context() as patch:
        patch.delitem(known_kinds(), "squares")
        ended = give_up(simulation, job.id)

    assert ended.status is JobStatus.FAILED
    assert "no job kind 'squares'" in str(ended.error)


def test_a_merge_that_raises_is_the_jobs_error_until_a_retry(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=2, merge_fails=True)

    ended = give_up(simulation, job.id)

    assert ended.error is not None
    assert "merge of its results raised RuntimeError: the merge can't go on" in ended.error.message
    lifecycle.retry(engine.db, job.id)
    assert engine.job(job.id).work_error is None


def test_a_summary_that_fails_does_not_keep_a_job_from_its_end(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_summary(*_: object) -> kinds.Summary:
        raise ValueError("no summary today")

    monkeypatch.setitem(known_kinds(), "squares", dataclasses.replace(kinds.SQUARES, summarise=no_summary))
    job = engine.submit("squares", items=3)

    ended = simulation.run_until_end(job.id)

    assert (ended.status, ended.summary, ended.error and ended.error.code) == (
        JobStatus.SUCCEEDED,
        None,
        "summary_failed",
    )
    assert "ValueError: no summary today" in str(ended.error)


def test_a_summary_that_mongodb_can_not_answer_in_time_is_left_out(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_summary(*_: object) -> kinds.Summary:
        raise AutoReconnect("timed out")

    monkeypatch.setitem(known_kinds(), "squares", dataclasses.replace(kinds.SQUARES, summarise=slow_summary))
    job = engine.submit("squares", items=3)

    ended = simulation.run_until_end(job.id)

    assert (ended.status, ended.error and ended.error.code) == (JobStatus.SUCCEEDED, "summary_failed")


def test_a_plan_longer_than_its_lease_gets_on_all_the_same(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=60, plan_seconds=0.02)

    ended = simulation.run_until_end(job.id)

    assert (ended.status, ended.progress.succeeded) == (JobStatus.SUCCEEDED, 60)


def test_a_budget_smaller_than_a_chunk_gets_on_bit_by_bit(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=20, quota=list(range(0, 20, 3)), quota_seconds=0.02)

    ended = simulation.run_until_end(job.id)

    assert (ended.status, ended.progress.succeeded) == (JobStatus.SUCCEEDED, 20)
    assert engine.db["squarings"].count_documents({"jobId": job.id}) == 20, "nothing was done twice"
    assert [item.index for item in engine.items(job.id)] == list(range(20))


def test_a_budget_that_is_spent_while_planning_parks_the_job(
    simulation: Simulation, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent = iter((True,))

    def plan_on_budget(request: kinds.Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
        if next(spent, False):
            raise QuotaSpent("the budget is spent", resumes_at=now() + timedelta(seconds=0.2))
        yield from kinds.plan(request, cursor, context)

    monkeypatch.setitem(known_kinds(), "squares", dataclasses.replace(kinds.SQUARES, plan=plan_on_budget))
    job = engine.submit("squares", items=3)
    engine.plan(job.id)
    assert engine.job(job.id).status is JobStatus.WAITING_QUOTA

    assert simulation.run_until_end(job.id).status is JobStatus.SUCCEEDED


def test_a_message_that_can_not_be_encoded_is_stored_all_the_same() -> None:
    outcome = failed("unexpected", "caf\udce9 " * 1000)

    assert outcome.error is not None
    assert outcome.error.message.encode().startswith(b"caf\\udce9")
    assert len(outcome.error.message) <= 1000


def test_outcomes_live_as_long_as_their_retried_job(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=4, fails_once=[1])
    simulation.run_until_end(job.id)
    soon = now() + timedelta(seconds=60)
    engine.db["outcomes"].update_many({"jobId": job.id}, {"$set": {"expiresAt": soon}})
    lifecycle.retry(engine.db, job.id)

    ended = simulation.run_until_end(job.id)

    assert ended.expires_at is not None
    expiries = [outcome["expiresAt"] for outcome in engine.db["outcomes"].find({"jobId": job.id})]
    assert all(expiry > ended.expires_at for expiry in expiries)


def test_a_planner_that_lost_its_lease_can_not_give_up_the_plan(engine: Engine) -> None:
    job = engine.submit("squares", items=4)
    jobs.begin_planning(engine.db, job.id, "stale", timedelta(seconds=-1))
    jobs.begin_planning(engine.db, job.id, "fresh", timedelta(seconds=30))

    assert not jobs.give_up_plan(engine.db, job.id, "stale", JobError(code="unexpected", message="late"))
    assert engine.job(job.id).plan_error is None


def test_a_cancel_does_not_wait_for_a_worker_on_a_machine_that_is_gone(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=4)
    engine.plan(job.id)
    chunks.claim(engine.db, Queue.CPU, "elsewhere:1:1", timedelta(seconds=-3600))
    lifecycle.cancel(engine.db, job.id)

    engine.finish(job.id)

    assert engine.job(job.id).status is JobStatus.CANCELLED


def test_a_chunk_that_is_parked_does_not_hold_back_the_clock(engine: Engine) -> None:
    old = engine.submit("squares", items=400)
    engine.plan(old.id)
    parked = chunks.claim(engine.db, Queue.CPU, engine.process.name, timedelta(seconds=30))
    assert parked is not None
    chunks.release(engine.db, parked, visible_at=now() + timedelta(hours=1))
    engine.db["chunks"].update_many({"_id": {"$ne": parked.id}}, {"$inc": {"turn": 5000.0}})

    new = engine.submit("squares", items=4)
    engine.plan(new.id)

    laid_out = engine.db["chunks"].find_one({"jobId": new.id})
    assert laid_out is not None
    assert laid_out["turn"] > 4000


def test_progress_never_counts_a_chunk_of_another_epoch(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=4, fails_once=[0])
    simulation.run_until_end(job.id)

    jobs.add_progress(engine.db, job.id, 0, {ItemStatus.SUCCEEDED: 4}, 1.0)

    assert engine.job(job.id).progress.done == 4


def test_known_items_do_not_count_in_the_pace(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=4, seconds=0.05)

    ended = simulation.run_until_end(job.id)

    assert ended.progress.busy_seconds == pytest.approx(0.2, abs=0.15)
    assert exact_progress(engine.db, ended).busy_seconds == ended.progress.busy_seconds


def test_an_idle_job_behind_others_is_not_rung_for_again_and_again(simulation: Simulation, engine: Engine) -> None:
    job = engine.submit("squares", items=40)
    engine.plan(job.id)
    simulation.lose_everything()

    for _ in range(5):
        reap(engine.process)

    assert simulation.waiting(Queue.CONTROL) == 0
