"""A machine of real worker processes, and a short way to submit to it and wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from shared import broker, lifecycle
from shared.clock import new_id
from shared.jobs import get_kind
from shared.model import Db, Json
from shared.pages import items_page
from shared.settings import Settings
from shared.store import jobs
from shared.store.database import StoreError, connect, ensure_indexes
from shared.store.job_record import JobRecord
from shared.store.outcomes import StoredItem
from tests.environment import environment_of
from tests.machine import Machine
from tests.waiting import wait_until

LEASE_SECONDS = "4"


@dataclass(frozen=True, kw_only=True)
class Client:
    """What a front door does, without one: submit, look, wait."""

    machine: Machine
    db: Db
    settings: Settings

    def submit(self, kind: str, **request: Any) -> JobRecord:
        """Store a job and ring for it, as the front door does."""
        form = get_kind(kind)
        job, _ = lifecycle.submit(self.db, form, lifecycle.validate_request(form, request))
        self.ring(job.id)
        return job

    def ring(self, job_id: str) -> None:
        """Ring for a job's plan; a broker that is down is the reaper's matter."""
        try:
            broker.ring_plan([job_id])
        except broker.BrokerError:
            return

    def job(self, job_id: str) -> JobRecord:
        return jobs.get(self.db, job_id)

    def wait(self, job_id: str, *, seconds: float = 60.0) -> JobRecord:
        """Return the job once it has ended; outages on the way are borne."""

        def ended() -> JobRecord | None:
            try:
                job = self.job(job_id)
            except StoreError:
                return None
            return job if job.status.is_final else None

        return wait_until(ended, seconds=seconds, what=f"the end of {job_id}")

    def wait_for_progress(self, job_id: str, done: int) -> None:
        """Return once so many items have their outcome."""
        wait_until(lambda: self.job(job_id).progress.done >= done, what=f"{done} items of {job_id}")

    def wait_for_plan(self, job_id: str) -> None:
        """Return once the whole job is laid out."""
        wait_until(lambda: self.job(job_id).plan.is_complete, what=f"the plan of {job_id}")

    def retry(self, job_id: str) -> JobRecord:
        """Retry a job as the front door does."""
        job = lifecycle.retry(self.db, job_id)
        self.ring(job_id)
        return job

    def items(self, job_id: str) -> list[StoredItem]:
        """Return every item of a job, through the pages that clients read."""
        found: list[StoredItem] = []
        cursor: str | None = None
        while True:
            page = items_page(self.db, self.job(job_id), after=cursor, limit=100, settings=self.settings)
            found += page.items
            cursor = page.cursor
            if cursor is None:
                return found

    def squares(self, owner: str) -> dict[int, int]:
        """Return the merged documents of an owner of `squares` jobs."""
        found = self.db["squares"].find({"_id": {"$gte": f"{owner}:", "$lt": f"{owner};"}})
        return {int(one["_id"].rpartition(":")[2]): one["square"] for one in found}

    def begun(self, job_id: str) -> list[Json]:
        """Return every time that an item of a `squares` job was worked on."""
        return list(self.db["squarings"].find({"jobId": job_id}))

    def flush_redis(self) -> None:
        with redis.Redis.from_url(self.machine.servers.redis_url) as valkey:
            valkey.flushall()

    def drop_redis_connections(self) -> None:
        with redis.Redis.from_url(self.machine.servers.redis_url) as valkey:
            for kind in ("pubsub", "normal"):
                valkey.execute_command("CLIENT", "KILL", "TYPE", kind)


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the machine's workers may read."""
    return tmp_path_factory.mktemp("music")


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, music: Path) -> Iterator[Machine]:
    """A machine for this session, with short leases so that recovery can be watched."""
    environment = {
        "BACKLINE_JOB_MODULES": "tests.kinds,tests.conformance.kinds",
        "BACKLINE_MUSIC_ROOTS": str(music),
        "BACKLINE_LEASE_SECONDS": LEASE_SECONDS,
        "BACKLINE_REAP_SECONDS": "1",
        "BACKLINE_TICK_SECONDS": "0.5",
        "BACKLINE_CHUNK_SECONDS": "2",
        "BACKLINE_ITEM_SECONDS_MAX": "8",
        "BACKLINE_MONGODB_TIMEOUT_SECONDS": "5",
    }
    machine = Machine(tmp_path_factory.mktemp("machine"), environment)
    machine.servers.start()
    yield machine
    machine.stop()


@pytest.fixture
def client(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the whole machine, every part of which runs when the test begins."""
    with environment_of(monkeypatch, machine.settings) as settings:
        db = connect(settings)
        machine.heal()
        ensure_indexes(db)
        yield Client(machine=machine, db=db, settings=settings)
        db.client.close()


@pytest.fixture
def owner() -> str:
    """A user of this test alone."""
    return new_id("user")
