"""What a later version has written harms no earlier one that runs beside it: it is shown, or left to those who know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import Field

import tests.kinds as kinds
from shared import lifecycle
from shared.access import Scope
from shared.clock import now
from shared.jobs import known_kinds
from shared.jobs.job import JobKind
from shared.model import Db
from shared.settings import Settings
from shared.store import chunks, jobs, keys, slots
from shared.store.job_record import JobStatus
from tests.holders import client_of, give_key
from tests.integration.engine import Engine, engine_on
from tests.waiting import wait_until
from workers.engine import versions


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as engine:
        yield engine


class LaterRequest(kinds.Request):
    """The same with a choice more."""

    is_dry: bool = False


class LaterItem(kinds.Item):
    """The same with a field more."""

    colour: str = Field(default="red")


def later(**changes: Any) -> JobKind:
    return replace(kinds.SQUARES, **changes)


@pytest.mark.parametrize(
    ("name", "kind", "request_"),
    [
        ("cubes", later(name="cubes"), {}),
        ("squares", later(request=LaterRequest), {"isDry": True}),
    ],
    ids=["kind", "field"],
)
def test_a_job_that_only_a_later_version_understands_waits_for_its_workers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str, kind: JobKind, request_: dict[str, Any]
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(known_kinds(), name, kind)
        job = engine.submit(name, items=20, **request_)
    engine.plan(job.id)
    assert engine.job(job.id).status in (JobStatus.QUEUED, JobStatus.RUNNING)
    assert engine.job(job.id).plan_error is None

    with monkeypatch.context() as patch:
        patch.setitem(known_kinds(), name, kind)
        engine.plan(job.id)
    live = engine.live(job.id)
    assert live
    for _ in range(10):  # as often as would have made an end of a chunk that fails
        engine.db[chunks.COLLECTION].update_many({}, {"$set": {"visibleAt": now()}})
        engine.run()
    assert engine.live(job.id) == live
    engine.finish(job.id)

    with monkeypatch.context() as patch:
        patch.setitem(known_kinds(), name, kind)
        engine.db[chunks.COLLECTION].update_many({}, {"$set": {"visibleAt": now()}})
        while engine.live(job.id):
            engine.run()
    engine.finish(job.id)
    assert not engine.job(job.id).status.is_final
    with monkeypatch.context() as patch:
        patch.setitem(known_kinds(), name, kind)
        ended = engine.drive(job.id)
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.progress.succeeded == 20
    assert ended.summary is not None


def test_items_with_a_field_of_a_later_version_wait_for_its_workers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = engine.submit("squares", items=3)
    engine.plan(job.id)
    engine.db[chunks.COLLECTION].update_many({}, {"$set": {"items.0.item.colour": "blue"}})
    engine.run()
    assert engine.live(job.id)
    engine.db[chunks.COLLECTION].update_many({}, {"$set": {"visibleAt": now()}})

    monkeypatch.setitem(known_kinds(), "squares", later(item=LaterItem))

    assert engine.drive(job.id).status is JobStatus.SUCCEEDED


def test_a_kind_that_is_gone_for_good_fails_in_the_end(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(known_kinds(), "cubes", later(name="cubes"))
        job = engine.submit("cubes", items=20)
    engine.plan(job.id)
    engine.db[jobs.COLLECTION].update_one(
        {"_id": job.id}, {"$set": {"createdAt": now() - versions.PATIENCE - timedelta(seconds=1)}}
    )
    engine.plan(job.id)
    engine.finish(job.id)

    ended = engine.job(job.id)
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert ended.error.code == "unknown_job_kind"


def test_a_cancelled_job_of_a_later_version_ends(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(known_kinds(), "cubes", later(name="cubes"))
        job = engine.submit("cubes", items=20)
        engine.plan(job.id)
    lifecycle.cancel(engine.db, job.id)
    engine.finish(job.id)

    assert engine.job(job.id).status is JobStatus.CANCELLED


def test_lists_show_what_a_later_version_has_in_them(engine: Engine, api: httpx.Client) -> None:
    ours = engine.drive(engine.submit("squares", items=2).id)
    engine.db[jobs.COLLECTION].update_one({"_id": ours.id}, {"$set": {"kind": "cubes", "tomorrow": [1]}})
    odd = engine.submit("squares", items=2)
    engine.db[jobs.COLLECTION].update_one({"_id": odd.id}, {"$set": {"status": "waiting_moon"}})
    holder = give_key(engine.db, "local")
    wait_until(lambda: slots.find_alive(engine.db), what="a worker's sign of life")
    engine.db[keys.COLLECTION].update_one({"_id": holder.id}, {"$push": {"scopes": "moon:read"}})
    engine.db[slots.COLLECTION].update_many({}, {"$push": {"queues": "moon"}})

    with client_of(holder, api.base_url) as client:
        found = {one["id"]: one for one in client.get("/api/jobs").json()["jobs"]}
        items = client.get(f"/api/jobs/{ours.id}/items").json()["items"]

    assert found[ours.id]["kind"] == "cubes"
    assert found[odd.id]["status"] == "running"
    assert [item["result"]["square"] for item in items] == [0, 1]
    stored = keys.find(engine.db, holder.id)
    assert stored is not None
    assert set(stored.scopes) <= set(Scope)
    assert slots.count_by_queue(engine.db)
