"""Two versions of the code on one database and one broker: neither loses or spoils what the other began."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from shared.keys import ensure_key_file
from tests.api_server import bearer
from tests.machine import ROOT, Part, Servers, celery, free_port
from tests.older_version import thaw
from tests.waiting import wait_until

OLDER = "aa5fc0ab617022392bdbde1218d00209fed85c29"
"""The version before which imports, exports, repairs and migrations came."""

JOB_SECONDS = 90.0
ENDS = ("succeeded", "partial", "failed", "cancelled")


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the older version; skipped where the history is not to be had."""
    folder = tmp_path_factory.mktemp("older")
    packed = folder / "older.tar"
    done = subprocess.run(
        ["git", "archive", "--output", str(packed), OLDER], cwd=ROOT, capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"the version {OLDER[:7]} is not in this checkout (a shallow clone has no history)")
    with tarfile.open(packed) as tar:
        tar.extractall(folder / "code", filter="data")
    return folder / "code"


@dataclass(kw_only=True)
class Site:
    """One database and one broker, and processes of either version on them."""

    servers: Servers
    folder: Path
    environment: dict[str, str]
    key: str
    parts: list[Part] = field(default_factory=list)

    def workers(self, root: Path, name: str, *, roles: Sequence[str] = ("heavy", "control", "beat")) -> list[Part]:
        """Start a heavy worker, a control worker and a beat of a version, or those of them that are named."""
        options = ["--without-gossip", "--without-mingle", "-E", "-l", "INFO"]
        commands = {
            "heavy": ["worker", "-Q", "cpu,io,index,bulk", "-c", "2", "-n", f"heavy-{name}@{os.getpid()}", *options],
            "control": ["worker", "-Q", "control", "-c", "1", "-n", f"control-{name}@{os.getpid()}", *options],
            "beat": ["beat", "-l", "INFO"],
        }
        found = [
            Part(f"{name}-{role}", celery(*command), self.folder, self.environment, root=root)
            for role, command in commands.items()
            if role in roles
        ]
        return self._started(found)

    @contextmanager
    def api(self, root: Path, name: str) -> Iterator[httpx.Client]:
        """Serve the API of a version, and give a client of it."""
        port = free_port()
        command = [sys.executable, "-m", "api.server", "--host", "127.0.0.1", "--port", str(port)]
        (part,) = self._started([Part(f"{name}-api", command, self.folder, self.environment, root=root)])
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, headers=bearer(self.key), trust_env=False, timeout=20) as client:
            wait_until(lambda: is_live(client), seconds=60, what=f"the API of {name}")
            yield client
        part.terminate()

    def _started(self, parts: Sequence[Part]) -> list[Part]:
        for part in parts:
            part.start()
            self.parts.append(part)
        return list(parts)

    def stop(self) -> None:
        for part in self.parts:
            part.kill()
        self.servers.stop()


def is_live(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    servers = Servers(tmp_path)
    key = ensure_key_file(tmp_path / "api.key")
    environment = {
        "REDIS_URL": servers.redis_url,
        "MONGODB_URI": servers.mongodb_uri,
        "BACKLINE_DATA_DIR": str(tmp_path / "data"),
        "BACKLINE_API_KEY_FILE": str(tmp_path / "api.key"),
        "BACKLINE_JOB_MODULES": "tests.kinds",
        "BACKLINE_MUSIC_ROOTS": str(tmp_path),
        "BACKLINE_LEASE_SECONDS": "4",
        "BACKLINE_REAP_SECONDS": "1",
        "BACKLINE_TICK_SECONDS": "1",
        "BACKLINE_CHUNK_SECONDS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": "",
    }
    servers.start()
    found = Site(servers=servers, folder=tmp_path, environment=environment, key=key.text)
    try:
        yield found
    finally:
        found.stop()


def submit(client: httpx.Client, kind: str, **request: Any) -> str:
    answer = client.post(f"/api/jobs/{kind}", json=request)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/api/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    wait_until(lambda: job(client, job_id)["status"] in ENDS, seconds=JOB_SECONDS, what=f"the end of {job_id}")
    return job(client, job_id)


def progressed(client: httpx.Client, job_id: str, done: int) -> None:
    wait_until(lambda: job(client, job_id)["progress"]["succeeded"] >= done, seconds=JOB_SECONDS, what="progress")


def items(client: httpx.Client, job_id: str) -> list[tuple[int, str]]:
    found, cursor = [], None
    while True:
        page = client.get(f"/api/jobs/{job_id}/items", params={"after": cursor} if cursor else {}).json()
        found += [(item["index"], item["status"]) for item in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            return found


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one version was asked to do."""

    long: str
    failing: str
    staged: str
    files: str


def asked(client: httpx.Client, folder: Path) -> Work:
    """Submit a long job, one whose items fail at first, one in steps, and one on real files."""
    subprocess.run([sys.executable, "-m", "workers.audio.synthesis", str(folder / "music")], cwd=ROOT, check=True)
    paths = [str(path) for path in sorted((folder / "music").iterdir()) if path.suffix in (".wav", ".flac")][:2]
    assert paths
    return Work(
        long=submit(client, "squares", userId="ada", items=120, seconds=0.1, fails=[7]),
        failing=submit(client, "squares", userId="bob", items=12, fails_once=[3, 5]),
        staged=submit(client, "staged", userId="eve", items=25),
        files=submit(client, "audio_features", userId="ada", paths=paths, effort="quick"),
    )


def check(client: httpx.Client, work: Work) -> None:
    """Every job has come to its right end, whoever did which part of it, and every item is there once."""
    long, failing, staged = (ended(client, one) for one in (work.long, work.failing, work.staged))
    files = ended(client, work.files)
    assert (long["status"], long["progress"]["succeeded"], long["progress"]["failed"]) == ("partial", 119, 1)
    assert (failing["status"], failing["progress"]["failed"]) == ("partial", 2)
    assert (staged["status"], staged["progress"]["succeeded"]) == ("succeeded", 26)
    assert files["status"] == "succeeded", files
    assert sorted(index for index, _ in items(client, work.long)) == list(range(120))
    assert long["summary"]["merged"] == 119
    client.post(f"/api/jobs/{work.failing}/retry").raise_for_status()
    again = ended(client, work.failing)
    assert (again["status"], again["progress"]["succeeded"]) == ("succeeded", 12)


def same_to_both(one: httpx.Client, other: httpx.Client, work: Work) -> None:
    """What one version says of a job, the other says too, as far as both have a word for it."""
    for job_id in (work.long, work.failing, work.staged, work.files):
        first, second = job(one, job_id), job(other, job_id)
        shared = first.keys() & second.keys() - {"links"}
        assert {name: first[name] for name in shared} == {name: second[name] for name in shared}
        assert items(one, job_id) == items(other, job_id)
    listed = [{entry["id"] for entry in client.get("/api/jobs").json()["jobs"]} for client in (one, other)]
    assert listed[0] == listed[1]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", ["forth", "back"])
def test_a_deployment_loses_nothing_whichever_way_it_goes(older: Path, site: Site, way: str) -> None:
    """The front door and the workers are replaced one after the other, while jobs run and while new ones come in."""
    first, second = ((older, "older"), (ROOT, "newer"))[:: 1 if way == "forth" else -1]
    with ExitStack() as stack:
        former = stack.enter_context(site.api(*first))
        before = site.workers(*first)
        every = {"name": "often", "kind": "squares", "request": {"userId": "dan", "items": 2}, "everySeconds": 2}
        assert former.post("/api/schedules", json=every).status_code in (200, 201)
        work = asked(former, site.folder)
        progressed(former, work.long, 10)

        after = site.workers(*second)  # both versions' workers at work
        latter = stack.enter_context(site.api(*second))
        progressed(latter, work.long, 40)
        mixed = submit(latter, "squares", userId="fay", items=40, seconds=0.05)
        for part in before:  # the former ones are asked to go
            assert part.terminate() == 0
        check(latter, work)
        same_to_both(former, latter, work)
        assert ended(latter, mixed)["progress"]["succeeded"] == 40
        later = submit(former, "squares", userId="ian", items=10)  # a front door that is not replaced yet
        assert ended(former, later)["status"] == "succeeded"
        slots = latter.get("/api/schedules/often").json()
        assert slots["lastError"] is None
        assert slots["lastJobId"]
        assert all(part.is_alive for part in after)


@pytest.mark.timeout(200)
def test_what_an_older_version_left_in_mongodb_and_redis_is_taken_up_by_this_one(site: Site) -> None:
    """Frozen documents and doorbells bring their jobs to the end, without a reaper that would ring again."""
    with MongoClient[dict[str, Any]](site.servers.mongodb_uri, tz_aware=True) as mongo:
        lying = thaw(mongo["backline"], site.servers.redis_url)
        assert lying["cpu"]
        assert lying["control"]
        ids = {one["userId"]: one["_id"] for one in mongo["backline"]["jobs"].find()}
    with site.api(ROOT, "newer") as client:
        site.workers(ROOT, "newer", roles=("heavy", "control"))
        found = {user: ended(client, job_id) for user, job_id in ids.items()}
        assert [(user, found[user]["status"], found[user]["progress"]["succeeded"]) for user in sorted(found)] == [
            ("ada", "partial", 39),
            ("bob", "succeeded", 30),
            ("eve", "succeeded", 26),
            ("ian", "succeeded", 9),
        ]
        assert sorted(index for index, _ in items(client, ids["ada"])) == list(range(40))
