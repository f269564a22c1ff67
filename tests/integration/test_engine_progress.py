"""A running job shows how far it is: soon, without a write for each small chunk, and never more than was done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from shared.model import Db
from shared.settings import Settings
from shared.store import jobs
from tests.integration.engine import Engine, engine_on
from tests.waiting import wait_until
from workers.engine.heartbeat import BEAT_SECONDS

CHUNKS = 12


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as one:
        yield one


def done(engine: Engine, job_id: str) -> int:
    return engine.job(job_id).progress.done


def run_some(engine: Engine, job_id: str) -> int:
    """Run some small chunks one after the other, and return how many items that were."""
    for _ in range(CHUNKS):
        if not engine.live(job_id):
            engine.plan(job_id)
        engine.run()
    return sum(len(outcome["items"]) for outcome in engine.db["outcomes"].find({"jobId": job_id}))


def test_small_chunks_in_quick_succession_change_their_job_seldom_and_soon(engine: Engine) -> None:
    job = engine.submit("noop", items=1000)
    engine.plan(job.id)
    before = engine.job(job.id).revision

    engine.run()
    assert done(engine, job.id) > 0, "the first is told of at once"
    items = run_some(engine, job.id)

    wait_until(lambda: done(engine, job.id) == items, seconds=3 * BEAT_SECONDS, what="the rest")
    assert engine.job(job.id).revision - before < CHUNKS


def test_a_process_that_ends_tells_what_it_has_done(db: Db, settings: Settings) -> None:
    with engine_on(db, settings) as engine:
        job = engine.submit("noop", items=1000)
        engine.plan(job.id)
        items = run_some(engine, job.id)

    assert done(engine, job.id) == items


def test_what_mongodb_does_not_take_is_told_later(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    job = engine.submit("noop", items=1000)
    engine.plan(job.id)

    def fails(*_: Any, **__: Any) -> None:
        raise AutoReconnect("the connection broke off")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "add_progress", fails)
        with pytest.raises(AutoReconnect):
            engine.run()
        assert done(engine, job.id) == 0

    stored = engine.db["outcomes"].find_one({"jobId": job.id})
    assert stored is not None
    wait_until(lambda: done(engine, job.id) == len(stored["items"]), seconds=3 * BEAT_SECONDS, what="the progress")
