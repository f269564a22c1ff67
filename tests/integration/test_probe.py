"""What an orchestrator asks of a container, and when it should start it anew."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import httpx
import pytest

from deploy.probe import main, trouble
from shared.broker import Queue
from shared.clock import now
from shared.hosts import host_name
from shared.model import Db
from shared.store import slots
from shared.store.slots import FRESH, Slot
from tests.environment import variables_set
from tests.machine import ROOT, free_port


def lives(db: Db, name: str, **values: object) -> None:
    moment = now()
    fields: Mapping[str, object] = {"id": name, "worker": "w@h", "queues": (Queue.CPU,), "started_at": moment}
    slots.save(db, Slot.model_validate({**fields, "seen_at": moment, **values}))


def test_a_worker_is_well_while_one_of_its_processes_gives_signs_of_life(db: Db) -> None:
    lives(db, "somebody-else.f0:1:1")
    lives(db, f"{host_name()}:2:1", seen_at=now() - 2 * FRESH)
    assert host_name() in (trouble("worker") or "")
    assert main(["worker"]) == 1

    lives(db, f"{host_name()}:3:1")
    assert trouble("worker") is None
    assert main(["worker"]) == 0


def test_a_worker_that_waits_for_mongodb_is_not_started_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = f"mongodb://root:geheim@127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=300"
    with variables_set(monkeypatch, {"MONGODB_URI": nobody, "REDIS_URL": "redis://127.0.0.1:1/0"}):
        monkeypatch.setattr("deploy.sign_of_life.ANSWER_SECONDS", 0.3)
        assert main(["worker"]) == 0

    said = capsys.readouterr().err
    assert "MongoDB does not answer" in said
    assert "geheim" not in said


def test_a_worker_without_settings_is_ill(monkeypatch: pytest.MonkeyPatch) -> None:
    with variables_set(monkeypatch, {"MONGODB_URI": None, "REDIS_URL": None}):
        assert "MONGODB_URI" in (trouble("worker") or "")


def test_a_look_at_a_route_brings_no_driver_with_it() -> None:
    code = "import sys, deploy.probe; sys.exit(len({'pymongo', 'pydantic', 'celery'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_route_is_well_when_it_answers(api: httpx.Client) -> None:
    assert trouble(f"{api.base_url}/health/live") is None
    assert "401" in (trouble(f"{api.base_url}/metrics") or "")
    assert trouble(f"http://127.0.0.1:{free_port()}/health/live")
    assert "neither" in (trouble("file:///etc/passwd") or "")
