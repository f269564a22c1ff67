"""Health and status over HTTP."""

from __future__ import annotations

import os
import socket

import httpx
import pytest
from pymongo.errors import AutoReconnect

from api import health
from shared.broker import Queue
from shared.clock import now
from shared.model import Db
from shared.settings import Settings
from shared.store import chunks, slots
from shared.store.slots import FRESH, Slot
from tests.api_server import Worker, serving
from tests.machine import free_port


def slot(name: str, *queues: Queue, **values: object) -> Slot:
    moment = now()
    return Slot.model_validate(
        {"id": name, "worker": "w@host", "queues": queues, "started_at": moment, "seen_at": moment, **values}
    )


def test_the_process_lives(api: httpx.Client) -> None:
    response = api.get("/health/live")

    assert (response.status_code, response.json()) == (200, {"status": "live"})


def test_everything_is_ready_with_a_worker_process_on_each_queue(api: httpx.Client, db: Db) -> None:
    slots.save(db, slot("a", *Queue))
    slots.save(db, slot("b", Queue.CPU))

    response = api.get("/health/ready")

    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["status"], body["down"]) == ("ready", [])
    assert body["parts"]["mongodb"]["ok"]
    assert body["parts"]["redis"]["ok"]
    assert body["parts"]["queues"]["cpu"] == {"ok": True, "slots": 2}
    assert body["parts"]["queues"]["control"] == {"ok": True, "slots": 1}


def test_a_queue_without_a_live_worker_process_is_named(api: httpx.Client, db: Db) -> None:
    slots.save(db, slot("a", *(queue for queue in Queue if queue is not Queue.IO)))
    slots.save(db, slot("dead", Queue.IO, seen_at=now() - 2 * FRESH))

    response = api.get("/health/ready")

    assert response.status_code == 503
    assert (response.json()["status"], response.json()["down"]) == ("unavailable", ["queues.io"])
    assert response.json()["parts"]["queues"]["io"] == {"ok": False, "slots": 0}


@pytest.mark.parametrize("redis_url", ["closed", "wrong", None])
def test_a_redis_that_does_not_answer_is_named_without_its_address(
    settings: Settings, db: Db, redis_url: str | None
) -> None:
    addresses = {"closed": f"redis://:secret@127.0.0.1:{free_port()}/0", "wrong": "no address", None: None}
    with serving(settings.model_copy(update={"redis_url": addresses[redis_url]})) as client:
        slots.save(db, slot("a", *Queue))
        response = client.get("/health/ready")

    assert response.status_code == 503
    assert response.json()["down"] == ["redis"]
    assert response.json()["parts"]["redis"]["detail"]
    assert "secret" not in response.text


def test_the_status_shows_load_workers_and_jobs(api: httpx.Client, db: Db, worker: Worker) -> None:
    worker.submit()
    own, foreign = worker.submit().id, worker.submit(owner="echotune").id
    worker.begin(own)
    slots.save(db, slot(f"host:{os.getpid()}:1", Queue.CPU, job_id=own, chunk=3, rss_mb=120.5))
    slots.save(db, slot(f"host:{os.getpid()}:2", Queue.CPU, job_id=foreign, chunk=4, rss_mb=99.5))

    response = api.get("/api/status")

    assert response.status_code == 200
    body = response.json()
    assert body["jobs"] == {"queued": 1, "running": 1}
    assert body["queues"].keys() == {queue.value for queue in Queue}
    assert body["queues"]["cpu"]["slots"] == 2
    assert body["queues"]["cpu"]["waitingChunks"] == 0
    assert body["queues"]["control"]["waitingRings"] >= 0
    shown = {(one["jobId"], one["chunk"], one["rssMb"]) for one in body["workers"]}
    assert shown == {(own, 3, 120.5), (None, None, 99.5)}
    assert body["parts"]["queues"]["bulk"]["ok"] is False


def test_a_part_that_takes_too_long_is_down(settings: Settings, db: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with serving(settings.model_copy(update={"redis_url": url})) as client:
            response = client.get("/health/ready")

    assert response.json()["parts"]["redis"] == {
        "ok": False,
        "milliseconds": None,
        "detail": "No answer within 0.1 seconds",
    }


def test_the_status_leaves_out_what_can_not_be_read(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AutoReconnect

    def hang_up(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(chunks, "count_waiting", fail)
    monkeypatch.setattr(health, "waiting_rings", hang_up)

    body = api.get("/api/status").json()

    assert body["jobs"] is None
    assert body["queues"]["cpu"] == {"slots": 0, "waitingChunks": None, "waitingRings": None}
