"""A database is repaired and put back while workers and its server are killed: it ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from pymongo.errors import PyMongoError

from shared import lifecycle
from shared.clock import new_id
from shared.model import Db
from shared.store import jobs, repairs, reports
from shared.store.database import StoreError, connect, ensure_indexes
from shared.store.job_record import JobRecord, JobStatus
from tests.acceptance.conftest import LEASE_SECONDS, Client
from tests.database_faults import Faults, break_it, make_clean
from tests.database_snapshots import snapshot
from tests.environment import environment_of
from tests.machine import Machine
from tests.waiting import wait_until
from workers.database.checks import ALL

DOCUMENTS = int(os.environ.get("BACKLINE_TEST_DATABASE_DOCUMENTS", "5000"))
PATIENCE = 120.0 + DOCUMENTS / 100  # seconds
BY_HAND = {check.id for check in ALL if check.repair is None}
OF_THE_SERVER = {("open_on_loopback", "")}


@pytest.fixture(scope="module")
def own_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine of this test alone, for its MongoDB server is killed while others would use it."""
    environment = {
        "BACKLINE_JOB_MODULES": "tests.kinds",
        "BACKLINE_LEASE_SECONDS": LEASE_SECONDS,
        "BACKLINE_REAP_SECONDS": "1",
        "BACKLINE_CHUNK_SECONDS": "1",
        "BACKLINE_MONGODB_TIMEOUT_SECONDS": "30",
        "BACKLINE_MONGODB_DATABASE": new_id("test"),
    }
    machine = Machine(tmp_path_factory.mktemp("database"), environment)
    machine.servers.start()
    yield machine
    machine.stop()


@pytest.fixture
def client(own_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with environment_of(monkeypatch, own_machine.settings) as settings:
        db = connect(settings)
        with db.client:
            own_machine.heal()
            db.client.drop_database(db.name)  # what the test before has left is broken on purpose
            ensure_indexes(db)
            yield Client(machine=own_machine, db=db, settings=settings)


class Killer:
    """Kills worker processes, whole workers and the MongoDB server at random moments, whenever it is asked to look.

    Not in a thread of its own: what a thread has started is ended by the kernel when that thread ends.
    """

    def __init__(self, client: Client, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self._client, self._chance = client, random.Random(seed)
        self._next = 0.0

    def look(self) -> None:
        if time.monotonic() < self._next:
            return
        machine, what = self._client.machine, self._chance.choice(("child", "child", "worker", "control", "server"))
        self.kills[what] += 1
        if what == "child":
            for pid in machine.heavy.children()[-1:]:
                os.kill(pid, signal.SIGKILL)
        elif what == "server":
            machine.servers.mongo.kill()
        else:
            (machine.heavy if what == "worker" else machine.control).kill()
        machine.heal()
        self._next = time.monotonic() + self._chance.uniform(0.5, 3.0) * (1 + DOCUMENTS / 50_000)


def done(client: Client, kind: str, killer: Killer | None = None, **request: object) -> JobRecord:
    """Submit a job and return it once it has succeeded, whatever is killed meanwhile."""
    job_id = client.submit(kind, **request).id

    def ended() -> JobRecord | None:
        if killer is not None:
            killer.look()
        try:
            job = client.job(job_id)
        except StoreError:
            return None
        return job if job.status.is_final else None

    job = wait_until(ended, seconds=PATIENCE, what=f"the end of {kind}")
    assert job.status is JobStatus.SUCCEEDED, (job.error, job.summary)
    return job


def findings(db: Db, job_id: str) -> Faults:
    found = {(one.check, one.collection): one.count for one in reports.findings_of(db, job_id)}
    return Counter({key: count for key, count in found.items() if key not in OF_THE_SERVER})


@pytest.mark.timeout(int(8 * PATIENCE))
def test_found_repaired_and_undone_under_random_kills(client: Client) -> None:
    made = make_clean(client.db, documents=DOCUMENTS)
    assert findings(client.db, done(client, "database_validate").id) == Counter()
    faults = break_it(made)
    before = snapshot(client.db)

    killer = Killer(client, seed=5)
    assert findings(client.db, done(client, "database_validate", killer).id) == faults
    plan = done(client, "database_repair", killer).summary or {}
    approved = {"apply": True, "planId": plan["planId"], "planHash": plan["planHash"]}
    repaired = done(client, "database_repair", killer, **approved)
    assert (repaired.summary or {})["skipped"] == 0

    by_hand = Counter({key: count for key, count in faults.items() if key[0] in BY_HAND})
    assert findings(client.db, done(client, "database_validate").id) == by_hand

    done(client, "database_repair", killer, undo=plan["planId"])

    assert snapshot(client.db) == before
    assert client.db[repairs.QUARANTINE].count_documents({}) == 0
    assert killer.kills.total() >= 3, killer.kills


def test_a_repair_waits_without_a_worker_and_goes_on_when_it_is_approved(client: Client) -> None:
    client.db["users"].insert_one({"_id": "undated", "userId": "undated"})
    job = client.submit("database_repair", checks=["missing_required"], apply=True)

    def waits() -> bool:
        try:
            return jobs.get(client.db, job.id).status is JobStatus.WAITING_INPUT
        except (StoreError, PyMongoError):
            return False

    wait_until(waits, seconds=60, what="the question")
    held = {"jobId": job.id, "process": {"$ne": None}}
    wait_until(lambda: client.db["chunks"].find_one(held) is None, what="a free worker")
    lifecycle.approve(client.db, job.id, repairs.get_plan(client.db, job.id).hash)

    assert client.wait(job.id, seconds=60).status is JobStatus.SUCCEEDED
    assert "createdAt" in (client.db["users"].find_one({"_id": "undated"}) or {})
