"""The API's own HTTP server: as quick to stop as any, and its clock goes on."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import httpx

from shared.model import Db
from shared.serving import OPEN_FILES
from shared.settings import Settings
from tests.machine import ROOT, Part, free_port
from tests.waiting import wait_until


def answer_of(url: str) -> httpx.Response | None:
    try:
        return httpx.get(url, trust_env=False)
    except httpx.TransportError:
        return None


def test_it_does_not_listen_to_others_before_there_is_a_key(settings: Settings, db: Db) -> None:
    servers = {"REDIS_URL": settings.redis_url or "", "MONGODB_URI": settings.mongodb_uri or ""}
    command = [sys.executable, "-m", "api.server", "--host", "0.0.0.0", "--port", str(free_port())]
    environment = {**os.environ, **servers, "BACKLINE_MONGODB_DATABASE": db.name}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "will not listen on 0.0.0.0" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_waits_tells_the_time_and_stops_at_once(settings: Settings, tmp_path: Path) -> None:
    # Given a server with nothing to do
    port = free_port()
    url = f"http://127.0.0.1:{port}/health/live"
    servers = {"REDIS_URL": settings.redis_url or "", "MONGODB_URI": settings.mongodb_uri or ""}
    server = Part("api", [sys.executable, "-m", "api.server", "--port", str(port)], tmp_path, servers)
    server.start()
    try:
        first = wait_until(lambda: answer_of(url), what="the server's start").headers["Date"]

        # Then the time that it tells goes on
        wait_until(lambda: httpx.get(url, trust_env=False).headers["Date"] != first, seconds=5)
    finally:
        # And it does not wait for its next look at the clock when it is asked to stop
        asked = time.monotonic()
        server.terminate(seconds=10)
        took = time.monotonic() - asked
    assert took < 5


def test_it_takes_as_many_clients_as_the_machine_allows(settings: Settings, tmp_path: Path) -> None:
    # Given a server that is started where a process may have few files open, unless it asks for more
    port = free_port()
    servers = {"REDIS_URL": settings.redis_url or "", "MONGODB_URI": settings.mongodb_uri or ""}
    command = f'ulimit -S -n 256; exec "{sys.executable}" -m api.server --port {port}'
    server = Part("api", ["bash", "-c", command], tmp_path, servers)
    server.start()
    try:
        wait_until(lambda: answer_of(f"http://127.0.0.1:{port}/health/live"), what="the server's start")

        # Then it has asked for more: each client is an open file
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        assert soft == min(hard, OPEN_FILES)
    finally:
        server.terminate(seconds=20)
