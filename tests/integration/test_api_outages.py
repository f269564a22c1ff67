"""What the API does while a server that it stands on is down, or hangs."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from shared.clock import new_id
from shared.items import ItemStatus
from shared.model import Db
from shared.settings import Settings
from shared.store import jobs
from shared.store.database import connect, ensure_indexes
from shared.store.job_record import JobStatus
from tests.api_server import Worker, problem_of, serving
from tests.environment import environment_of
from tests.integration.test_api_events import following
from tests.machine import Servers, free_port
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def own_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers that these tests may kill."""
    both = Servers(tmp_path_factory.mktemp("own"))
    both.start()
    yield both
    both.start()
    both.stop()


@pytest.fixture
def own_settings(own_servers: Servers, settings: Settings) -> Settings:
    own_servers.start()
    changes = {"mongodb_uri": own_servers.mongodb_uri, "redis_url": own_servers.redis_url}
    changed = settings.model_copy(update=changes)
    # A collection that was being made when the embedded server was killed can't be read afterwards.
    db = connect(changed)
    ensure_indexes(db)
    db.client.close()
    return changed


@pytest.fixture
def own_worker(own_settings: Settings) -> Iterator[Worker]:
    db = connect(own_settings)
    yield Worker(db)
    db.client.close()


def is_up(api: httpx.Client) -> bool:
    return api.get("/api/jobs").status_code == 200


def is_ready(api: httpx.Client) -> bool:
    return bool(api.get("/health/ready").json()["parts"]["mongodb"]["ok"])


def test_requests_are_refused_fast_while_mongodb_is_down_and_answered_when_it_is_back(
    own_servers: Servers, own_settings: Settings
) -> None:
    with serving(own_settings) as api:
        wait_until(lambda: is_up(api))
        own_servers.mongo.kill()

        # The first requests find it out
        response = api.post("/api/jobs/squares", json={"items": 3})
        problem_of(response, 503, "service_unavailable")
        assert int(response.headers["retry-after"]) > 0

        # Those behind them do not wait for it
        started = time.monotonic()
        for _ in range(20):
            problem_of(api.get("/api/jobs"), 503, "service_unavailable")
        assert time.monotonic() - started < 2

        # The process lives, and says what is down
        assert api.get("/health/live").status_code == 200
        ready = api.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json()["down"][0] == "mongodb"
        assert ready.json()["parts"]["queues"]["cpu"] == {"ok": False, "slots": None}
        status = api.get("/api/status").json()
        assert (status["jobs"], status["queues"]["cpu"]["waitingChunks"]) == (None, None)

        # And nothing needs to be restarted but MongoDB
        own_servers.start()
        wait_until(lambda: is_up(api))
        assert api.post("/api/jobs/squares", json={"items": 3}).status_code == 202
        assert is_ready(api)


def test_the_api_starts_without_mongodb_and_makes_the_indexes_once_it_is_there(
    own_servers: Servers, own_settings: Settings
) -> None:
    fresh = own_settings.model_copy(update={"mongodb_database": new_id("fresh")})
    own_servers.mongo.kill()
    with serving(fresh) as api:
        assert api.get("/health/live").status_code == 200
        problem_of(api.get("/api/jobs"), 503, "service_unavailable")

        own_servers.start()
        wait_until(lambda: is_up(api))

        db = connect(fresh)
        with db.client:
            wait_until(lambda: len(db[jobs.COLLECTION].index_information()) > 1)


def test_health_is_told_in_time_while_mongodb_hangs(own_servers: Servers, own_settings: Settings) -> None:
    with serving(own_settings) as api:
        wait_until(lambda: is_ready(api))
        os.kill(own_servers.mongo.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            response = api.get("/health/ready")
            assert time.monotonic() - started < 3
        finally:
            os.kill(own_servers.mongo.pid, signal.SIGCONT)

        assert response.json()["parts"]["mongodb"]["ok"] is False
        wait_until(lambda: is_ready(api))


def test_a_stream_and_a_waiting_client_outlive_a_short_outage(
    own_servers: Servers, own_settings: Settings, own_worker: Worker
) -> None:
    with serving(own_settings) as api, ThreadPoolExecutor(1) as threads:
        wait_until(lambda: is_up(api))
        job = own_worker.submit(items=2)
        headers = {"Prefer": "wait=50", "Idempotency-Key": "waiting"}
        own_key = {"userId": "ada", "items": 2}
        waiting = threads.submit(api.post, "/api/jobs/squares", json=own_key, headers=headers, timeout=60)
        other = own_worker.find("ada", "waiting")
        with following(api, job.id) as stream:
            next(stream)
            own_servers.mongo.kill()
            wait_until(lambda: not is_up(api))
            own_servers.start()
            wait_until(lambda: is_up(api))

            for one in (job, other):
                own_worker.begin(one.id)
                own_worker.complete(one.id, 0, [ItemStatus.SUCCEEDED] * 2)
                own_worker.end(one.id, JobStatus.SUCCEEDED)
            assert [event.name for event in stream][-1] == "end"
        assert waiting.result().json()["status"] == "succeeded"


def test_a_job_is_taken_while_redis_is_down(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with environment_of(monkeypatch, {"REDIS_URL": url}) as changed, serving(changed) as api:
        response = api.post("/api/jobs/squares", json={"items": 3})

    assert response.status_code == 202
    assert jobs.get(db, response.json()["id"]).status is JobStatus.QUEUED


def test_no_request_waits_for_a_redis_that_hangs(db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with environment_of(monkeypatch, {"REDIS_URL": url}) as changed, serving(changed) as api:
            api.get("/api/kinds")
            started = time.monotonic()
            answers = [api.post("/api/jobs/squares", json={"items": 3}).status_code for _ in range(10)]
            took = time.monotonic() - started
            ready = api.get("/health/ready")

    assert answers == [202] * 10
    assert took < 1.5
    assert "redis" in ready.json()["down"]
