"""`backline doctor` and the detailed health: what is wrong is named, with what mends it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from deploy import doctor
from deploy.running import RunningStack
from shared.access import Scope
from shared.clock import now
from shared.diagnosis import Verdict, clock, disk
from shared.model import Db
from shared.settings import Settings
from tests.api_server import serving
from tests.environment import variables_set
from tests.holders import client_of, give_key
from tests.machine import free_port
from tests.shell import Shell


def findings(shell: Shell, code: int) -> dict[str, Any]:
    answer = shell("doctor", "--json")
    assert answer.code == code, answer.out
    found = {one["name"]: one for one in answer.json["findings"]}
    assert all(one["advice"] for one in found.values() if one["verdict"] != "ok")
    assert not any(one["advice"] for one in found.values() if one["verdict"] == "ok")
    return found


def test_all_is_well_on_a_stack_that_runs(shell: Shell, stack: RunningStack, music_root: Path) -> None:
    found = findings(shell, 0)

    assert {"python", "packages", "settings", "models", "mongodb", "mongodb.permissions", "redis"} <= found.keys()
    assert {"queues.control", "queues.cpu", "clock.mongodb", "clock.redis", "disk.data"} <= found.keys()
    assert stack.url in found["stack"]["detail"]
    assert found["mongodb"]["version"]
    assert found["redis"]["milliseconds"] > 0
    people = shell("doctor")
    assert people.code == 0
    assert "mongodb.permissions" in people.out


def test_what_is_wrong_is_named_and_how_to_mend_it(
    nowhere: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("secret-content")
    key.chmod(0o644)
    wrong = {
        "REDIS_URL": f"redis://:hunter2@127.0.0.1:{free_port()}/0",
        "MONGODB_URI": f"mongodb://root:geheim@127.0.0.1:{free_port()}/",
        "BACKLINE_MUSIC_ROOTS": str(tmp_path / "not-mounted"),
        "BACKLINE_API_KEY_FILE": str(key),
        "BACKLINE_LEASE_SECOND": "5",
    }
    with variables_set(monkeypatch, wrong):
        found = findings(nowhere, 1)
        shown = nowhere("doctor")

    assert found["redis"]["verdict"] == found["mongodb"]["verdict"] == "failed"
    assert found[f"music.{tmp_path / 'not-mounted'}"]["detail"] == "there is no such folder"
    assert found["key"]["advice"] == f"chmod 600 {key}"
    assert found["settings.BACKLINE_LEASE_SECOND"]["advice"] == "Did you mean BACKLINE_LEASE_SECONDS?"
    assert "Did you mean" in shown.out
    for secret in ("hunter2", "geheim", "secret-content"):
        assert secret not in shown.out + shown.err + str(found)


def test_a_front_door_alone_need_not_see_the_music(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "not-mounted"
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)  # as in the image of the API

    found = {one.name: one for one in doctor.examine(settings.model_copy(update={"music_roots": (root,)}), {})}

    assert found[f"music.{root}"].verdict == found["models"].verdict == "warning"


def test_traces_that_nobody_makes_or_takes_are_told(nowhere: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen()
        for port, words in ((collector.getsockname()[1], "go to 127.0.0.1"), (free_port(), "no collector answers")):
            with variables_set(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:geheim@127.0.0.1:{port}"}):
                traces = findings(nowhere, 0)["traces"]
            assert words in traces["detail"] or find_spec("opentelemetry.instrumentation") is None
            assert "geheim" not in str(traces)
    with variables_set(monkeypatch, {"OTEL_EXPORTER_OTLP_ENDPOINT": None}):
        assert "traces" not in findings(nowhere, 0)


def test_a_setting_that_can_not_be_understood_is_a_finding(nowhere: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with variables_set(monkeypatch, {"BACKLINE_LEASE_SECONDS": "soon"}):
        found = findings(nowhere, 1)

    assert found["settings.BACKLINE_LEASE_SECONDS"]["verdict"] == "failed"


def test_packages_of_other_versions_are_named() -> None:
    needs = ["celery>=5", "celery<1", "no-such-package>=1", "extra-package; extra == 'workers'"]

    wrong = list(doctor.wrong_packages(needs))

    assert len(wrong) == 2
    assert wrong[0].startswith("celery is 5")
    assert wrong[1] == "no-such-package is missing"


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(0, Verdict.OK), (-5, Verdict.WARNING), (5, Verdict.WARNING), (60, Verdict.FAILED)]
)
def test_a_clock_that_is_off_is_told(seconds: float, verdict: Verdict) -> None:
    assert clock("clock.x", now() + timedelta(seconds=seconds)).verdict is verdict


def test_a_folder_that_is_not_there_yet_is_judged_by_its_disk(tmp_path: Path) -> None:
    assert disk("data", tmp_path / "a" / "b").detail.endswith(f"GB free for {tmp_path / 'a' / 'b'}")


def test_a_folder_that_can_not_be_written_is_named(nowhere: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with variables_set(monkeypatch, {"BACKLINE_DATA_DIR": "/proc/backline"}):
        found = findings(nowhere, 1)

    assert found["folder.data"]["verdict"] == "failed"
    assert f"chown {os.geteuid()}" in found["folder.data"]["advice"]


@pytest.fixture
def small_redis(settings: Settings) -> Iterator[Redis]:
    """The session's Redis, which is put back afterwards."""
    with Redis.from_url(settings.redis_url or "") as client:
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


def test_a_redis_that_forgets_or_is_nearly_full_is_told_before_it_matters(
    settings: Settings, db: Db, small_redis: Redis
) -> None:
    used = int(small_redis.info("memory")["used_memory"])
    small_redis.config_set("maxmemory", int(used * 1.1))
    small_redis.config_set("maxmemory-policy", "allkeys-lru")
    with serving(settings) as api:
        parts = {part["name"]: part for part in api.get("/health/detailed").json()["parts"]}

    assert parts["redis.eviction"]["status"] == "warning"
    assert "noeviction" in parts["redis.eviction"]["advice"]
    assert parts["redis.memory"]["status"] == "warning"


def test_the_detailed_health_says_503_with_what_to_do(api: httpx.Client, db: Db) -> None:
    response = api.get("/health/detailed")

    assert response.status_code == 503  # there is no worker
    body = response.json()
    assert body["status"] == "failed"
    parts = {part["name"]: part for part in body["parts"]}
    assert "worker -Q cpu" in parts["queues.cpu"]["advice"]
    assert parts["mongodb"]["version"]
    assert parts["mongodb"]["milliseconds"] > 0
    assert parts["api"]["version"]


def test_the_detailed_health_of_a_stack_that_runs_is_good(http: httpx.Client) -> None:
    response = http.get("/health/detailed")

    assert response.status_code == 200, response.text
    assert response.json()["status"] in ("ok", "warning")


def test_the_detailed_health_is_for_operators(api: httpx.Client, db: Db) -> None:
    assert httpx.get(f"{api.base_url}/health/detailed", trust_env=False).status_code == 401
    with client_of(give_key(db, "band"), api.base_url) as everyday:
        assert everyday.get("/health/detailed").status_code == 403
    with client_of(give_key(db, "band", (Scope.METRICS,)), api.base_url) as operator:
        assert operator.get("/health/detailed").status_code == 503


def test_a_server_that_is_down_is_a_part_with_advice(settings: Settings, db: Db) -> None:
    down = settings.model_copy(update={"redis_url": f"redis://:hunter2@127.0.0.1:{free_port()}/0"})
    with serving(down) as api:
        response = api.get("/health/detailed")

    parts = {part["name"]: part for part in response.json()["parts"]}
    assert parts["redis"]["status"] == "failed"
    assert "REDIS_URL" in parts["redis"]["advice"]
    assert parts["mongodb"]["status"] == "ok"
    assert "hunter2" not in response.text
