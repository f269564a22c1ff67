"""Each step of the engine by itself, with the crash placed exactly where it hurts."""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta

import pytest
from pymongo.errors import AutoReconnect

import tests.kinds as kinds
from shared import lifecycle, quotas
from shared.broker import Queue
from shared.clock import now
from shared.errors import IdempotencyConflict
from shared.items import ItemStatus
from shared.jobs import get_kind, known_kinds
from shared.model import Db
from shared.pages import items_page
from shared.settings import Settings, get_settings
from shared.store import chunks, jobs, outcomes, paces, slots
from shared.store.job_record import JobRecord, JobStatus
from shared.store.slots import Slot
from tests.integration.engine import Engine, engine_on
from tests.kinds import SQUARES
from tests.waiting import wait_until
from workers.engine import planning
from workers.engine.heartbeat import BEAT_SECONDS, PRESENCE_SECONDS, Claim
from workers.engine.reaping import reap


class PowerCut(BaseException):
    """Stands for the end of a process: nothing catches it."""


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as one:
        yield one


def cut_power(*_: object, **__: object) -> None:
    raise PowerCut


# Planning


def test_a_window_lays_out_a_bounded_number_of_chunks(engine: Engine) -> None:
    job = engine.submit("squares", items=10_000)

    engine.plan(job.id)

    assert 4 <= engine.live(job.id) <= 16
    planned = engine.job(job.id).plan
    assert planned.items < 200
    assert not planned.exhausted


@pytest.mark.parametrize(("others", "at_once"), [(1, 1), (2, 1), (8, 4)])
def test_a_kind_that_takes_half_the_slots_never_has_more_chunks_than_these(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, others: int, at_once: int
) -> None:
    halved = dataclasses.replace(SQUARES, slots_share=0.5, chunk_items_max=1)
    monkeypatch.setitem(known_kinds(), "squares", halved)
    monkeypatch.setattr(planning, "_slots_seen", {})
    for n in range(others):
        slot = Slot(id=f"h:{n}:1", worker="heavy@h", queues=(Queue.CPU,), started_at=now(), seen_at=now())
        engine.show_slot(slot)
    job = engine.submit("squares", items=12)

    counts = []
    while not engine.job(job.id).status.is_final:
        engine.plan(job.id)
        counts.append(engine.live(job.id))
        engine.run()

    assert max(counts) == at_once
    assert engine.job(job.id).progress.succeeded == 12


def test_an_owner_who_has_used_up_the_items_of_the_day_waits_for_the_next(
    db: Db, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_on(db, settings.model_copy(update={"quota_items_per_day": 30})) as engine:
        first = engine.drive(engine.submit("squares", items=30).id)
        assert first.status is JobStatus.SUCCEEDED

        waiting = engine.submit("squares", items=5)
        engine.plan(waiting.id)
        parked = engine.job(waiting.id)
        assert parked.status is JobStatus.WAITING_QUOTA
        assert parked.resumes_at is not None
        assert (parked.resumes_at.hour, parked.resumes_at.minute) == (0, 0)
        assert timedelta(0) < parked.resumes_at - now() <= timedelta(days=1)
        assert engine.live(waiting.id) == 0

        # The day after
        db["jobs"].update_one({"_id": waiting.id}, {"$set": {"resumesAt": now()}})
        tomorrow = now() + timedelta(days=1)
        monkeypatch.setattr(quotas, "now", lambda: tomorrow)
        assert engine.drive(waiting.id).status is JobStatus.SUCCEEDED


def test_a_planner_that_dies_before_its_commit_leaves_nothing_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=25)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "save_plan", cut_power)
        patch.setattr(jobs, "end_planning", lambda *_: None)
        with pytest.raises(PowerCut):
            engine.plan(job.id)
    assert engine.live(job.id) > 0
    engine.run()
    assert not engine.db["squarings"].find_one({"jobId": job.id}), "an uncommitted chunk was run"
    expire_planner(engine, job.id)

    ended = engine.drive(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert [item.index for item in engine.items(job.id)] == list(range(25))


def test_a_planner_that_dies_behind_its_commit_is_finished_by_the_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=25)
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "commit", first_call_only(chunks.commit))
        patch.setattr(jobs, "end_planning", lambda *_: None)
        with pytest.raises(PowerCut):
            engine.plan(job.id)
    expire_planner(engine, job.id)

    ended = engine.drive(job.id)

    assert ended.status is JobStatus.SUCCEEDED
    assert engine.db["squarings"].count_documents({"jobId": job.id}) == 25


def first_call_only(function: object) -> object:
    """Return `function`, but the power is cut at its second call."""
    calls = iter((function,))

    def once(*args: object, **kwargs: object) -> object:
        call = next(calls, cut_power)
        return call(*args, **kwargs)  # type: ignore[operator]

    return once


def expire_planner(engine: Engine, job_id: str) -> None:
    past = now() - timedelta(seconds=1)
    engine.db["jobs"].update_one({"_id": job_id}, {"$set": {"plan.until": past}})


def test_a_second_planner_waits_for_the_first_ones_lease(engine: Engine) -> None:
    job = engine.submit("squares", items=25)
    first = jobs.begin_planning(engine.db, job.id, "first", timedelta(seconds=30))
    assert first is not None

    engine.plan(job.id)

    assert engine.live(job.id) == 0
    assert engine.job(job.id).plan.token == "first"


def test_a_stale_planner_can_not_move_the_plan(engine: Engine) -> None:
    job = engine.submit("squares", items=25)
    stale = jobs.begin_planning(engine.db, job.id, "stale", timedelta(seconds=-1))
    assert stale is not None
    jobs.begin_planning(engine.db, job.id, "fresh", timedelta(seconds=30))

    moved = jobs.save_plan(engine.db, job.id, stale.plan, total=25, total_is_exact=True)

    assert not moved


def test_more_items_than_allowed_end_the_job_before_the_work(engine: Engine, settings: Settings, db: Db) -> None:
    strict = settings.model_copy(update={"max_items_per_job": 100})
    with engine_on(db, strict) as other:
        job = other.submit("squares", items=101)

        other.plan(job.id)

        ended = other.job(job.id)
        assert (ended.status, ended.error and ended.error.code) == (JobStatus.FAILED, "too_many_items")
        assert other.live(job.id) == 0


def test_a_job_knows_its_total_before_its_end(engine: Engine) -> None:
    job = engine.submit("squares", items=1000)

    engine.plan(job.id)

    progress = engine.job(job.id).progress
    assert (progress.total, progress.total_is_exact) == (1000, True)


def test_counting_a_slow_plan_never_keeps_other_plans_waiting(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "COUNT_SECONDS", 0.05)
    job = engine.submit("squares", items=300, plan_seconds=0.001)

    engine.plan(job.id)
    first = engine.job(job.id).progress
    assert not first.total_is_exact
    for _ in range(30):
        engine.plan(job.id, is_counting=True)

    assert (engine.job(job.id).progress.total, engine.job(job.id).progress.total_is_exact) == (300, True)


def test_a_plan_of_a_million_items_takes_bounded_memory(engine: Engine) -> None:
    job = engine.submit("noop", items=1_000_000)
    tracemalloc.start()

    engine.plan(job.id)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert engine.live(job.id) <= 16


def test_chunks_are_sized_by_the_pace_of_the_last_job(engine: Engine, settings: Settings) -> None:
    paces.save(engine.db, "squares", settings.chunk_seconds / 3)
    job = engine.submit("squares", items=1000)

    engine.plan(job.id)

    assert set(sizes(engine, job.id)[3:]) == {3}


def sizes(engine: Engine, job_id: str) -> list[int]:
    found = engine.db["chunks"].find({"jobId": job_id}).sort("n", 1)
    return [len(chunk["items"]) for chunk in found]


def test_the_first_chunks_are_short_so_that_progress_moves_soon(engine: Engine) -> None:
    job = engine.submit("squares", items=1000)

    engine.plan(job.id)

    assert sizes(engine, job.id)[:5] == [2, 3, 5, 10, 10]


def test_the_last_chunks_shrink_so_that_all_slots_end_together(engine: Engine) -> None:
    job = engine.submit("squares", items=30)

    engine.plan(job.id)

    assert sizes(engine, job.id) == [2, 3, 5, 10, 5, 3, 1, 1]


# Running


def test_a_worker_that_dies_behind_its_merge_is_repeated_without_harm(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=3, userId="ada")
    engine.plan(job.id)
    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "insert", cut_power)
        with pytest.raises(PowerCut):
            engine.run()
    expire_leases(engine)

    ended = engine.drive(job.id)

    assert (ended.status, ended.progress.succeeded) == (JobStatus.SUCCEEDED, 3)
    assert engine.db["squares"].count_documents({}) == 3


def test_a_worker_that_dies_behind_its_outcome_is_not_repeated(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job = engine.submit("squares", items=3)
    engine.plan(job.id)
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "delete", cut_power)
        with pytest.raises(PowerCut):
            engine.run()
    expire_leases(engine)

    ended = engine.drive(job.id)

    assert ended.progress.succeeded == 3, "the first outcome counts, the second is dropped"
    assert [item.index for item in engine.items(job.id)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("crashes_max", "deaths", "error"), [(2, 2, None), (2, 3, "poison"), (5, 5, None), (5, 6, "poison")]
)
def test_a_kind_says_how_many_workers_may_die_in_an_item(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, crashes_max: int, deaths: int, error: str | None
) -> None:
    """The first one's item is not known: only from the second attempt on it is noted what is in work."""
    monkeypatch.setitem(known_kinds(), "squares", dataclasses.replace(SQUARES, crashes_max=crashes_max))
    job = engine.submit("squares", items=1)
    engine.plan(job.id)
    with monkeypatch.context() as patch:
        patch.setattr(kinds, "_go_wrong", cut_power)
        for _ in range(deaths):
            with pytest.raises(PowerCut):
                engine.run()
            expire_leases(engine)

    engine.drive(job.id)

    [item] = engine.items(job.id)
    assert (item.error.code if item.error else None) == error


def test_no_item_is_blamed_for_outages_of_mongodb_that_its_worker_has_lived_through(engine: Engine) -> None:
    outages = 2 * SQUARES.crashes_max
    job = engine.submit("squares", items=1, outages=outages)
    engine.plan(job.id)
    for _ in range(outages):
        with pytest.raises(AutoReconnect):
            engine.run()
        wait_until(lambda: engine.db["chunks"].find_one({"jobId": job.id, "current": None}), what="the acquittal")
        expire_leases(engine)

    ended = engine.drive(job.id)

    assert (ended.status, ended.progress.succeeded) == (JobStatus.SUCCEEDED, 1)


def expire_leases(engine: Engine) -> None:
    past = now() - timedelta(seconds=1)
    engine.db["chunks"].update_many({"visibleAt": {"$ne": None}}, {"$set": {"visibleAt": past}})


def test_the_heartbeat_keeps_a_long_chunk_alive(db: Db, settings: Settings) -> None:
    brief = settings.model_copy(update={"lease_seconds": 1.5})
    with engine_on(db, brief) as engine:
        job = engine.submit("squares", items=1, seconds=4.0)
        engine.plan(job.id)

        engine.run()
        engine.finish(job.id)

        assert engine.job(job.id).status is JobStatus.SUCCEEDED


def test_a_heart_that_dozes_hears_of_a_cancel_as_soon_as_it_has_a_chunk(engine: Engine) -> None:
    # Given a process that has had nothing to do since its first sign of life
    job = engine.submit("squares", items=2)
    engine.plan(job.id)
    wait_until(lambda: slots.find_alive(engine.db), what="a sign of life")

    # When it takes a chunk of a job that is cancelled at that moment
    chunk = chunks.claim(engine.db, Queue.CPU, engine.process.name, engine.settings.lease)
    assert chunk is not None
    claim = Claim(chunk)
    lifecycle.cancel(engine.db, job.id)

    # Then it does not sleep until its next sign of life
    with engine.heartbeat.watching(claim):
        wait_until(lambda: claim.is_cancelled, seconds=PRESENCE_SECONDS - 2 * BEAT_SECONDS)


def test_a_job_is_not_read_anew_for_every_small_chunk(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job = engine.submit("squares", items=60)
    engine.plan(job.id)
    read: list[str] = []
    find = jobs.find_without_request

    def find_and_note(db: Db, job_id: str) -> JobRecord | None:
        read.append(job_id)
        return find(db, job_id)

    monkeypatch.setattr(jobs, "find_without_request", find_and_note)
    started, ran = time.monotonic(), 0
    while engine.live(job.id):
        engine.run()
        ran += 1
    seconds = time.monotonic() - started

    assert ran >= 6
    assert len(read) <= 2 + seconds / BEAT_SECONDS, "once more before it has any progress"


def test_a_chunk_of_a_deleted_job_is_dropped(engine: Engine) -> None:
    job = engine.submit("squares", items=3)
    engine.plan(job.id)
    jobs.delete(engine.db, job.id)

    while engine.live(job.id):
        engine.run()

    assert engine.db["squarings"].count_documents({}) == 0


def test_jobs_take_turns_by_the_length_of_their_chunks(engine: Engine) -> None:
    big = engine.submit("squares", items=400)
    engine.plan(big.id)
    for _ in range(3):
        engine.run()
    small = engine.submit("squares", items=20)
    engine.plan(small.id)
    before = engine.job(big.id).progress.done

    while engine.live(small.id):
        engine.run()

    assert engine.job(big.id).progress.done - before <= 30


# Finishing


def test_a_finisher_that_died_is_followed_by_another(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job = engine.submit("squares", items=3)
    engine.plan(job.id)
    while engine.live(job.id):
        engine.run()
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "finish", cut_power)
        with pytest.raises(PowerCut):
            engine.finish(job.id)
    assert engine.job(job.id).status is JobStatus.FINALISING

    engine.finish(job.id)

    assert engine.job(job.id).status is JobStatus.SUCCEEDED


def test_a_job_with_live_chunks_is_not_finished(engine: Engine) -> None:
    job = engine.submit("squares", items=3)
    engine.plan(job.id)

    engine.finish(job.id)

    assert engine.job(job.id).status is JobStatus.RUNNING


def test_totals_are_drawn_from_the_outcomes_and_not_from_what_was_shown(engine: Engine) -> None:
    job = engine.submit("squares", items=30, fails=[4])
    engine.plan(job.id)
    engine.db["jobs"].update_one({"_id": job.id}, {"$set": {"progress.succeeded": 12345}})

    ended = engine.drive(job.id)

    assert (ended.progress.succeeded, ended.progress.failed, ended.progress.total) == (29, 1, 30)


def test_a_finished_job_and_its_outcomes_expire(engine: Engine, settings: Settings) -> None:
    job = engine.submit("squares", items=3)

    ended = engine.drive(job.id)

    assert ended.finished_at is not None
    assert ended.expires_at == ended.finished_at + settings.job_ttl
    outcome = engine.db["outcomes"].find_one({"jobId": job.id})
    assert outcome is not None
    assert outcome["expiresAt"] > ended.expires_at
    indexes = engine.db["jobs"].index_information(), engine.db["outcomes"].index_information()
    assert all(any("expireAfterSeconds" in index for index in each.values()) for each in indexes)


# Cancelling and retrying


def test_a_retry_that_is_cancelled_and_retried_again_counts_every_item_once(engine: Engine) -> None:
    job = engine.submit("squares", items=60, fails_once=list(range(0, 60, 2)))
    assert engine.drive(job.id).progress.failed == 30
    lifecycle.retry(engine.db, job.id)
    engine.plan(job.id)
    engine.run()
    lifecycle.cancel(engine.db, job.id)
    cancelled = engine.drive(job.id)
    assert cancelled.status is JobStatus.CANCELLED
    assert cancelled.progress.done == 60 - cancelled.progress.cancelled
    assert sorted(item.index for item in engine.items(job.id)) == list(range(60))

    lifecycle.retry(engine.db, job.id)
    ended = engine.drive(job.id)

    assert (ended.status, ended.epoch, ended.progress.succeeded) == (JobStatus.SUCCEEDED, 2, 60)
    assert sorted(item.index for item in engine.items(job.id)) == list(range(60))
    assert engine.db["squarings"].count_documents({"jobId": job.id}) == 60


def test_a_retry_cancelled_within_its_window_shows_what_still_failed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=400, fails_once=list(range(400)))
    engine.drive(job.id)
    lifecycle.retry(engine.db, job.id)
    engine.plan(job.id)
    engine.run()
    laid_out = engine.job(job.id).plan
    assert laid_out.sources, "the retry should not be laid out whole"
    lifecycle.cancel(engine.db, job.id)

    ended = engine.drive(job.id)

    assert ended.progress.done + ended.progress.cancelled == ended.progress.total == 400
    assert ended.progress.failed > 0
    assert sorted(item.index for item in engine.items(job.id)) == list(range(400))
    lifecycle.retry(engine.db, job.id)
    assert engine.drive(job.id).progress.succeeded == 400


def test_a_page_ends_before_a_chunk_that_is_still_in_work(engine: Engine) -> None:
    job = engine.submit("squares", items=8)
    engine.plan(job.id)
    held = chunks.claim(engine.db, get_kind("squares").queue, "somebody", timedelta(seconds=30))
    assert held is not None
    engine.run()

    assert engine.items(job.id) == []
    chunks.release(engine.db, held)
    engine.drive(job.id)
    assert [item.index for item in engine.items(job.id)] == list(range(8))


def test_a_filter_passes_only_items_of_that_status(engine: Engine) -> None:
    job = engine.submit("squares", items=40, fails=[3, 31])
    engine.drive(job.id)

    page = items_page(
        engine.db, engine.job(job.id), after=None, limit=10, status=[ItemStatus.FAILED], settings=get_settings()
    )

    assert ([item.index for item in page.items], page.cursor) == ([3, 31], None)


# Submitting


def test_an_idempotency_key_returns_the_first_job(engine: Engine) -> None:
    kind = get_kind("squares")
    request = lifecycle.validate_request(kind, {"items": 3})
    first, is_new = lifecycle.submit(engine.db, kind, request, idempotency_key="k")

    second, is_new_again = lifecycle.submit(engine.db, kind, request, idempotency_key="k")

    assert (is_new, is_new_again, second.id) == (True, False, first.id)
    with pytest.raises(IdempotencyConflict):
        lifecycle.submit(engine.db, kind, lifecycle.validate_request(kind, {"items": 4}), idempotency_key="k")


# Reaping


def test_the_reaper_deletes_what_a_planner_laid_out_for_an_ended_job(engine: Engine) -> None:
    job = engine.submit("squares", items=3)
    engine.drive(job.id)
    leftover = chunks.Chunk(
        id=f"{job.id}:0:99",
        job_id=job.id,
        kind="squares",
        queue=get_kind("squares").queue,
        epoch=0,
        n=99,
        items=(),
        turn=0.0,
        planner="late",
    )
    chunks.insert(engine.db, [leftover])

    reap(engine.process)

    assert engine.live(job.id) == 0
