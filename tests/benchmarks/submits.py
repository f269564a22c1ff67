"""Submits: one API process beside a bare route that only validates and inserts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import httpx

from deploy.ports import LOOPBACK
from shared.access import Scope
from tests.benchmarks.figures import Figure, shown, spread
from tests.benchmarks.load import Load, load
from tests.benchmarks.stage import Stage
from tests.holders import give_key
from tests.machine import Part, free_port
from tests.waiting import wait_until

BODY = json.dumps({"userId": "ada", "paths": ["/music/albums", "/music/singles"]})
CONNECTIONS = 8
WARM_UP_SECONDS = 0.5
# Budgets that nobody uses up, but that are kept: what keeping them costs belongs to the figure.
UNBOUNDED = {
    "BACKLINE_RATE_REQUESTS": "10000000 per minute",
    "BACKLINE_RATE_SUBMITS": "10000000 per minute",
    "BACKLINE_QUOTA_OPEN_JOBS": "10000000",
}


def measure(stage: Stage, *, is_short: bool) -> list[Figure]:
    """Return the rate and the latencies of both, and how they compare. No worker runs: none takes the processor."""
    key = give_key(stage.db, "bench", (Scope.JOBS_WRITE,)).key
    rounds, seconds = (1, 1.0) if is_short else (6, 4.0)
    with (
        served(stage, "api", "api.app:create_app", "/health/live") as api,
        served(stage, "bare", "tests.benchmarks.bare_route:create_app", "/openapi.json") as bare,
    ):
        targets = ((bare, "/bare"), (api, "/api/jobs/audio_features"))
        for port, path in targets:
            load(port, path, BODY, key=key, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
        plain, ours = zip(
            *(
                [load(*one, BODY, key=key, connections=CONNECTIONS, seconds=seconds) for one in targets]
                for _ in range(rounds)
            ),
            strict=True,
        )
    stage.clear()
    return [_ratio(ours, plain), *_absolute("submit", ours), *_absolute("bare route", plain)]


def _ratio(ours: Sequence[Load], plain: Sequence[Load]) -> Figure:
    ratios = [one.requests_per_second / other.requests_per_second for one, other in zip(ours, plain, strict=True)]
    note = f"{CONNECTIONS} connections; {spread(ratios)}"
    return Figure(name="submits beside a bare route", value=median(ratios), unit="", at_least=0.7, note=note)


def _absolute(name: str, loads: Sequence[Load]) -> list[Figure]:
    rates = [one.requests_per_second for one in loads]
    return [
        Figure(
            name=f"{name}: rate", value=median(rates), unit="1/s", note=f"{shown(min(rates))} to {shown(max(rates))}"
        ),
        Figure(name=f"{name}: p50", value=median(one.p50_ms for one in loads), unit="ms"),
        Figure(name=f"{name}: p99", value=median(one.p99_ms for one in loads), unit="ms"),
    ]


@contextmanager
def served(stage: Stage, name: str, factory: str, ready_path: str) -> Iterator[int]:
    """Give the port of an application that one process serves, as the stack serves the API."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", factory, "--factory", "--host", LOOPBACK, "--port", str(port)]
    command += ["--log-level", "warning", "--timeout-graceful-shutdown", "3"]
    part = Part(name, command, stage.folder, {**stage.machine.heavy.environment, **UNBOUNDED})
    part.start()
    try:
        wait_until(lambda: _answers(f"http://{LOOPBACK}:{port}{ready_path}"), what=f"the start of {name}")
        yield port
    finally:
        part.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
