"""``make acceptance-compose``: builds the images, runs the compose stack, and does with it what an operator does.

Needs Docker with compose and some GB; ends with 2 where there is none, which is no fault of the code.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from shared.store.job_record import JobStatus
from tests.compose.engine import has_compose, missing
from tests.machine import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
PROJECT = "backline-acceptance"
NO_ENGINE = 2
JOB_SECONDS = 180.0
SCRAPE_SECONDS = 60.0
SHOWS = 200
MEGABYTES_MAX = {"backline-api": 250, "backline-worker": 900}
"""Of each image, unpacked."""


def show(number: int) -> dict[str, Any]:
    """Return one entry of a small catalogue."""
    return {
        **{"sources": [f"https://anidb.net/anime/{number + 1}"], "title": f"Show {number}", "type": "TV"},
        **{"episodes": 12, "status": "FINISHED", "animeSeason": {"season": "SPRING", "year": 2010}},
        **{"synonyms": [], "tags": ["space", "robots"]},
    }


class Compose:
    """One project of Docker compose, with passwords and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        music = folder / "music"
        music.mkdir()
        for path in (folder, music):  # the containers' user is another one
            path.chmod(0o755)
        subprocess.run([sys.executable, "-m", "workers.audio.synthesis", str(music)], cwd=ROOT, check=True)
        self.music, self.catalogue = music, music / "catalogue.jsonl"
        self.catalogue.write_text("".join(f"{json.dumps(show(number))}\n" for number in range(SHOWS)))
        self.ports = {name: str(free_port()) for name in ("FLOWER_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
        chosen = {"MUSIC_DIR": str(music), "API_PORT": str(self.port), **self.ports}
        required = re.findall(r"(?m)^([A-Z_]+)=$", (ROOT / ".env.example").read_text())
        values = {**{name: secrets.token_hex(24) for name in required}, **chosen}
        self._env = folder / "env"
        self._env.write_text("".join(f"{name}={value}\n" for name, value in values.items()))

    def __call__(self, *arguments: str) -> str:
        """Run one command and return what it wrote; it has to succeed."""
        command = ["docker", "compose", "--project-name", PROJECT, "--env-file", str(self._env)]
        command += ["--profile", "observability", *arguments]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}"
        return done.stdout

    def services(self) -> list[dict[str, Any]]:
        """Return what runs, one entry a container."""
        return [json.loads(line) for line in self("ps", "--format", "json").splitlines() if line]

    def ailments(self) -> str:
        """Return what the last checks of each container that is not well have said."""
        ill = [one["Name"] for one in self.services() if one["Health"] not in ("", "healthy")]
        if not ill:
            return ""
        words = "{{.Name}}{{range .State.Health.Log}}\n  {{.Start}} {{.ExitCode}} {{.Output}}{{end}}"
        command = ["docker", "inspect", "--format", words, *ill]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout

    def client(self) -> httpx.Client:
        """Return a client with the stack's own key."""
        key = self("exec", "-T", "api", "cat", "/var/lib/backline/api.key").strip()
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, trust_env=False, timeout=70)


def images_are_small() -> None:
    """Neither image has grown beyond what it is meant to be; needs what compose has built."""
    for name, megabytes in MEGABYTES_MAX.items():
        command = ["docker", "image", "inspect", "--format", "{{.Size}}", name]
        size = int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout) / 1e6
        sys.stderr.write(f"{name}: {size:.0f} MB\n")
        assert size < megabytes, f"{name} has {size:.0f} MB, more than {megabytes}"


def all_is_healthy(compose: Compose, *, workers: int) -> None:
    """Every container is well by its own check, and there are as many workers as were asked for."""
    found = compose.services()
    ill = [one["Name"] for one in found if one["Health"] != "healthy"]
    assert not ill, f"not healthy: {', '.join(ill)}"
    assert sum(one["Service"] == "worker-cpu" for one in found) == workers


def everything_is_scraped(compose: Compose, *, targets: int) -> None:
    """Prometheus reaches the API, the search server and each worker."""
    url = f"http://127.0.0.1:{compose.ports['PROMETHEUS_PORT']}/api/v1/targets"

    def up() -> bool:
        found = httpx.get(url, trust_env=False).json()["data"]["activeTargets"]
        return [one["health"] for one in found] == ["up"] * targets

    wait_until(up, seconds=SCRAPE_SECONDS, what=f"{targets} targets that are up")


def submit(client: httpx.Client, kind: str, **request: Any) -> str:
    """Submit a job; return its id."""
    answer = client.post(f"/api/jobs/{kind}", json=request)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def ends_well(client: httpx.Client, job_id: str) -> None:
    """Every item of a job succeeds."""

    def ended() -> JobStatus | None:
        status = JobStatus(client.get(f"/api/jobs/{job_id}").json()["status"])
        return status if status.is_final else None

    status = wait_until(ended, seconds=JOB_SECONDS, what="the job's end")
    assert status is JobStatus.SUCCEEDED, f"{job_id}: {status}"


def extract(compose: Compose, client: httpx.Client) -> None:
    """A folder of this machine is analysed on the workers, from this machine's command line."""
    command = ["-m", "api.cli.main", "extract", str(compose.music), "--url", str(client.base_url)]
    environment = {**os.environ, "BACKLINE_API_KEY": client.headers["Authorization"].removeprefix("Bearer ")}
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)


def steps(compose: Compose) -> None:
    """Do it all, in order."""
    compose("up", "--build", "--detach", "--wait", "--wait-timeout", "300")
    images_are_small()
    all_is_healthy(compose, workers=1)
    with compose.client() as client:
        extract(compose, client)
        compose("up", "--detach", "--wait", "--scale", "worker-cpu=4")
        all_is_healthy(compose, workers=4)
        everything_is_scraped(compose, targets=8)

        # Workers are lost and come back while they are at it, and no job is.
        job = submit(client, "audio_features", userId="ada", paths=[str(compose.music)], force=True)
        compose("restart", "worker-cpu", "worker-control")
        ends_well(client, job)
        # Planned by one, stored by another, settled by a third, which all read the one file.
        ends_well(client, submit(client, "catalogue_import", path=str(compose.catalogue)))
        ends_well(client, submit(client, "vector_index", index="catalogue"))

        compose("up", "--detach", "--wait", "--scale", "worker-cpu=4")
        all_is_healthy(compose, workers=4)
        assert client.get("/health/ready").status_code == httpx.codes.OK
        detailed = client.get("/health/detailed").json()
        assert detailed["status"] == "ok", detailed


def main(_: Sequence[str] = ()) -> int:
    """Run the steps and take everything down again."""
    reason = missing() if has_compose() else "no Docker with compose is to be had here"
    if reason is not None:
        sys.stderr.write(f"{reason}\n")
        return NO_ENGINE
    with tempfile.TemporaryDirectory(prefix="backline-compose-") as name:
        compose = Compose(Path(name))
        try:
            steps(compose)
            subprocess.run([sys.executable, "-m", "pytest", "tests/compose", "-q"], cwd=ROOT, check=True)
        except Exception:
            sys.stderr.write(compose.ailments())
            raise
        finally:
            compose("down", "--volumes", "--timeout", "60")
    return 0


if __name__ == "__main__":
    sys.exit(main())
