"""Ticks on real servers: each due slot gets its job once, and no schedule stands in the way of another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import model_validator

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.jobs import known_kinds
from shared.jobs.job import JobRequest
from shared.lifecycle import submit
from shared.model import Db
from shared.settings import Settings
from shared.store import jobs, schedules
from shared.store.job_record import JobRecord
from shared.store.schedules import Schedule
from tests.kinds import SQUARES
from workers.engine.process import WorkerProcess
from workers.engine.ticking import slot_job_id, tick


@pytest.fixture
def process(db: Db, settings: Settings) -> WorkerProcess:
    return WorkerProcess(db=db, settings=settings)


def add(db: Db, name: str = "often", *, late: float = 0.0, **values: Any) -> Schedule:
    """Store a schedule that has been due for `late` seconds."""
    moment = now()
    request = {"items": 1}
    timing = {"every_seconds": 10.0} if "cron" not in values else {}
    key = schedules.schedule_id(DEFAULT_OWNER, name)
    defaults = {
        "owner": DEFAULT_OWNER,
        "user_id": "ada",
        "kind": "squares",
        "request": request,
        "created_at": moment,
        "updated_at": moment,
    }
    schedule = Schedule(
        id=key, name=name, **{**defaults, **timing, "next_at": moment - timedelta(seconds=late), **values}
    )
    schedules.insert(db, schedule)
    return schedule


def test_an_owner_whose_jobs_are_too_many_gets_no_further_one_from_a_schedule(db: Db, settings: Settings) -> None:
    few = WorkerProcess(db=db, settings=settings.model_copy(update={"quota_open_jobs": 1}))
    add(db)
    tick(few)
    make_due(db, "often")
    tick(few)
    assert len(jobs_of(db, "often")) == 1
    error = schedules.get(db, DEFAULT_OWNER, "often").last_error
    assert error is not None
    assert error.code == "quota_exceeded"


def make_due(db: Db, name: str) -> Schedule:
    """Have the next slot come now."""
    return schedules.update(db, DEFAULT_OWNER, name, {"next_at": now()})


def jobs_of(db: Db, name: str) -> list[JobRecord]:
    documents = db[jobs.COLLECTION].find({"schedule": name}).sort("_id", 1)
    return [JobRecord.from_document(document) for document in documents]


# Slots


def test_a_due_slot_gets_its_job_once_however_many_ticks_there_are(db: Db, process: WorkerProcess) -> None:
    due = add(db)
    add(db, "later", next_at=now() + timedelta(hours=1))
    add(db, "resting", paused=True)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(tick, [process] * 8))

    assert [job.id for job in jobs_of(db, "often")] == [slot_job_id(due)]
    assert db[jobs.COLLECTION].count_documents({}) == 1
    after = schedules.get(db, DEFAULT_OWNER, "often")
    assert (after.last_slot, after.last_job_id, after.last_error) == (due.next_at, slot_job_id(due), None)
    assert after.next_at == due.next_at + timedelta(seconds=10)


@pytest.mark.parametrize("late", [0.0, 0.4, 3.7, 9.5])
def test_slots_keep_their_distance_however_late_the_tick_is(db: Db, process: WorkerProcess, late: float) -> None:
    due = add(db, late=late)

    tick(process)

    assert schedules.get(db, DEFAULT_OWNER, "often").next_at == due.next_at + timedelta(seconds=10)


def test_slots_that_were_missed_are_caught_up_once_and_the_next_is_where_it_would_have_been(
    db: Db, process: WorkerProcess
) -> None:
    missed = add(db, late=3603.0)

    for _ in range(3):
        tick(process)

    assert [job.id for job in jobs_of(db, "often")] == [slot_job_id(missed)]
    next_at = schedules.get(db, DEFAULT_OWNER, "often").next_at
    assert now() < next_at < now() + timedelta(seconds=10)
    assert (next_at - missed.next_at) % timedelta(seconds=10) == timedelta(0)


def test_a_slot_whose_tick_died_behind_the_submit_is_not_submitted_again(
    db: Db, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCut(BaseException):
        pass

    def cut_power(*_: object, **__: object) -> None:
        raise PowerCut

    due = add(db)
    with monkeypatch.context() as patch:
        patch.setattr(schedules, "record_slot", cut_power)
        with pytest.raises(PowerCut):
            tick(process)

    tick(process)

    assert [job.id for job in jobs_of(db, "often")] == [slot_job_id(due)]
    assert schedules.get(db, DEFAULT_OWNER, "often").last_job_id == slot_job_id(due)


# What goes wrong


@pytest.mark.parametrize(
    "timing",
    [
        {"cron": "0 2 * * *", "timezone": "Moon/Base"},
        {"cron": "whenever"},
        {"cron": "0 0 30 2 *"},
        {"every_seconds": 0.0},
        {"every_seconds": None},
    ],
)
def test_a_schedule_without_a_next_slot_is_paused_and_says_why(
    db: Db, process: WorkerProcess, timing: dict[str, Any]
) -> None:
    broken = add(db, "broken", late=5, **timing)
    add(db, "sound", late=4)

    for _ in range(2):
        tick(process)

    after = schedules.get(db, DEFAULT_OWNER, "broken")
    assert after.paused
    assert after.last_error is not None
    assert after.last_error.code == "invalid_schedule"
    assert [job.id for job in jobs_of(db, "broken")] == [slot_job_id(broken)]  # this slot was fine
    assert len(jobs_of(db, "sound")) == 1


def odd_validator(_: Any) -> Any:
    raise RuntimeError("the validator is broken")


class OddRequest(JobRequest):
    """A request whose kind breaks down over it."""

    _check = model_validator(mode="before")(odd_validator)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "gone"}, "unknown_job_kind"),
        ({"request": {"items": "many"}}, "invalid_request"),
        ({"kind": "odd"}, "unexpected"),
    ],
)
def test_a_slot_that_can_not_be_submitted_leaves_an_error_until_one_goes_well(
    db: Db, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], code: str
) -> None:
    odd = SQUARES.__class__(**{**vars(SQUARES), "name": "odd", "request": OddRequest})
    monkeypatch.setitem(known_kinds(), "odd", odd)
    first = add(db, late=15)
    tick(process)
    schedules.update(db, DEFAULT_OWNER, "often", changes)
    failed = make_due(db, "often")
    add(db, "sound")

    tick(process)

    after = schedules.get(db, DEFAULT_OWNER, "often")
    assert after.last_error is not None
    assert (after.last_error.code, after.last_slot, after.last_job_id) == (code, failed.next_at, slot_job_id(first))
    assert (after.paused, after.next_at > now()) == (False, True)
    assert len(jobs_of(db, "sound")) == 1

    schedules.update(db, DEFAULT_OWNER, "often", {"kind": "squares", "request": {"items": 1}})
    good = make_due(db, "often")
    tick(process)
    after = schedules.get(db, DEFAULT_OWNER, "often")
    assert (after.last_error, after.last_job_id) == (None, slot_job_id(good))


# Changes in the meantime


def interposed(call: Callable[..., Any], meanwhile: Callable[[], object]) -> Callable[..., Any]:
    """Return a function that, having been called, lets something else happen before it returns."""

    def both(*arguments: Any, **options: Any) -> Any:
        answer = call(*arguments, **options)
        meanwhile()
        return answer

    return both


@pytest.mark.parametrize("change", [{"paused": True}, {"request": {"userId": "ben", "items": 2}}])
def test_a_change_leaves_alone_what_a_tick_writes_meanwhile(
    api: httpx.Client, db: Db, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    due = add(db)
    with monkeypatch.context() as patch:
        patch.setattr(schedules, "get", interposed(schedules.get, lambda: tick(process)))
        document = api.patch("/api/schedules/often", json=change).json()

    assert {name: document[name] for name in change} == change
    after = schedules.get(db, DEFAULT_OWNER, "often")
    assert (after.last_slot, after.last_job_id) == (due.next_at, slot_job_id(due))
    assert after.next_at == due.next_at + timedelta(seconds=10)


def test_a_tick_leaves_alone_the_time_that_a_change_sets_meanwhile(
    api: httpx.Client, db: Db, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = add(db)
    changed: list[datetime] = []

    def change() -> None:
        document = api.patch("/api/schedules/often", json={"everySeconds": 3600}).json()
        changed.append(datetime.fromisoformat(document["nextAt"]))

    with monkeypatch.context() as patch:
        patch.setattr("workers.engine.ticking.submit", interposed(submit, change))
        tick(process)

    after = schedules.get(db, DEFAULT_OWNER, "often")
    assert [after.next_at] == changed
    assert (after.last_slot, after.last_job_id, after.every_seconds) == (due.next_at, slot_job_id(due), 3600)


def test_a_timing_that_is_set_right_meanwhile_is_not_paused(
    db: Db, process: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(db, cron="0 2 * * *", timezone="Moon/Base")
    mended = {"timezone": "UTC", "next_at": now() + timedelta(hours=1)}
    with monkeypatch.context() as patch:
        patch.setattr(
            "workers.engine.ticking.submit",
            interposed(submit, lambda: schedules.update(db, DEFAULT_OWNER, "often", mended)),
        )
        tick(process)

    after = schedules.get(db, DEFAULT_OWNER, "often")
    assert (after.paused, after.last_error, after.next_at) == (False, None, mended["next_at"])


def test_the_slots_of_a_running_schedule_stay_where_they_are_when_it_is_told_to_go_on(
    api: httpx.Client, db: Db
) -> None:
    before = add(db, next_at=now() + timedelta(seconds=5))

    document = api.patch("/api/schedules/often", json={"paused": False, "request": {"items": 2}}).json()

    assert datetime.fromisoformat(document["nextAt"]) == before.next_at


# As seen by clients


def test_a_schedule_that_paused_itself_shows_why_and_can_be_mended(
    api: httpx.Client, db: Db, process: WorkerProcess
) -> None:
    due = add(db, cron="0 2 * * *", timezone="Moon/Base")
    tick(process)

    document = api.get("/api/schedules/often").json()
    assert document["paused"]
    assert document["lastError"]["code"] == "invalid_schedule"
    assert "Moon/Base" in document["lastError"]["message"]
    assert document["lastJobId"] == slot_job_id(due)
    assert datetime.fromisoformat(document["lastSlot"]) == due.next_at

    # It can be left paused as it is, but not go on
    assert api.patch("/api/schedules/often", json={"paused": True}).status_code == 200
    assert api.patch("/api/schedules/often", json={"paused": False}).json()["code"] == "invalid_schedule"
    mended = api.patch("/api/schedules/often", json={"paused": False, "timezone": "Europe/Berlin"}).json()
    assert (mended["paused"], datetime.fromisoformat(mended["nextAt"]) > now()) == (False, True)
    make_due(db, "often")
    tick(process)
    assert api.get("/api/schedules/often").json()["lastError"] is None


def test_a_slot_without_a_job_shows_why_and_links_the_last_job(
    api: httpx.Client, db: Db, process: WorkerProcess
) -> None:
    first = add(db, late=15)
    tick(process)
    schedules.update(db, DEFAULT_OWNER, "often", {"kind": "gone"})
    make_due(db, "often")
    tick(process)

    document = api.get("/api/schedules/often").json()

    assert document["lastError"]["code"] == "unknown_job_kind"
    assert document["lastJobId"] == slot_job_id(first)
    assert api.get(document["links"]["lastJob"]).status_code == 200
