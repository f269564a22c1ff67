"""A machine of real workers, and the application with the fixtures in front of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from shared.keys import KEY_FILE
from tests.machine import Machine, Part, free_port
from tests.waiting import wait_until

KINDS = "tests.conformance.kinds"
ENVIRONMENT: Mapping[str, str] = {
    "BACKLINE_JOB_MODULES": KINDS,
    # Short, because the scenarios wait for ten seconds at most.
    "BACKLINE_LEASE_SECONDS": "3",
    "BACKLINE_REAP_SECONDS": "0.5",
    "BACKLINE_CHUNK_SECONDS": "1",
}


@contextmanager
def serving(machine: Machine, folder: Path, factory: str) -> Iterator[str]:
    """Yield the address of an API process of this factory in `tests.conformance.app`, on the machine's servers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", f"tests.conformance.app:{factory}", "--factory", "--port", str(port)]
    environment = {**machine.settings, "BACKLINE_API_KEY_FILE": str(folder / KEY_FILE)}
    part = Part(factory, [*command, "--timeout-graceful-shutdown", "2"], folder, environment)
    part.start()
    try:
        wait_until(lambda: _answers(url) or not part.is_alive, seconds=60, what=f"the start of {factory}")
        assert part.is_alive, part.log.read_text()[-2000:]
        yield url
    finally:
        part.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False


@contextmanager
def machine_in(folder: Path) -> Iterator[Machine]:
    """Yield a machine that knows the fixtures' kinds; everything ends with the block."""
    machine = Machine(folder, {**ENVIRONMENT, "BACKLINE_MUSIC_ROOTS": str(folder)})
    try:
        machine.heal()
        yield machine
    finally:
        machine.stop()
