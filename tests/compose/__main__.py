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

from tests.compose.engine import has_compose, missing
from tests.machine import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
PROJECT = "backline-acceptance"
NO_ENGINE = 2
JOB_SECONDS = 180.0


class Compose:
    """One project of Docker compose, with passwords and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        music = folder / "music"
        music.mkdir()
        for path in (folder, music):  # the containers' user is another one
            path.chmod(0o755)
        subprocess.run([sys.executable, "-m", "workers.audio.synthesis", str(music)], cwd=ROOT, check=True)
        ports = {name: str(free_port()) for name in ("FLOWER_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")}
        chosen = {"MUSIC_DIR": str(music), "API_PORT": str(self.port), **ports}
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

    def client(self) -> httpx.Client:
        """Return a client with the stack's own key."""
        key = self("exec", "-T", "api", "cat", "/var/lib/backline/api.key").strip()
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, trust_env=False, timeout=70)


def all_is_healthy(compose: Compose, *, workers: int) -> None:
    """Every container is well by its own check, and there are as many workers as were asked for."""
    found = compose.services()
    ill = [one["Name"] for one in found if one["Health"] != "healthy"]
    assert not ill, f"not healthy: {', '.join(ill)}"
    assert sum(one["Service"] == "worker-cpu" for one in found) == workers


def a_job_succeeds(client: httpx.Client) -> None:
    """A folder is analysed, on the workers, into the database."""
    job = client.post("/api/jobs/audio_features", json={"userId": "ada", "paths": ["/music"], "effort": "quick"}).json()
    wait_until(
        lambda: client.get(f"/api/jobs/{job['id']}").json()["status"] == "succeeded",
        seconds=JOB_SECONDS,
        what="the job's end",
    )


def steps(compose: Compose) -> None:
    """Do it all, in order."""
    compose("up", "--build", "--detach", "--wait", "--wait-timeout", "300")
    all_is_healthy(compose, workers=1)
    with compose.client() as client:
        a_job_succeeds(client)
        compose("up", "--detach", "--wait", "--scale", "worker-cpu=3")
        all_is_healthy(compose, workers=3)
        compose("restart", "worker-control")
        a_job_succeeds(client)
        assert client.get("/health/detailed").status_code == httpx.codes.OK
        command = ["-m", "api.cli.main", "submit", "audio_features", json.dumps({"paths": ["/music"]}), "--watch"]
        command += ["--url", str(client.base_url)]
        environment = {**os.environ, "BACKLINE_API_KEY": client.headers["Authorization"].removeprefix("Bearer ")}
        subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)


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
        finally:
            compose("down", "--volumes", "--timeout", "60")
    return 0


if __name__ == "__main__":
    sys.exit(main())
