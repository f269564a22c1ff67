"""Without anybody who asks for traces, there is nothing of them: no import, no cost, no field on a line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from shared import tracing
from shared.settings import Settings

SHOW = "import sys; print(*sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
SERVERS = {"REDIS_URL": "redis://127.0.0.1:1/0", "MONGODB_URI": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1"}
EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
COSTLY = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.instrumentation")


def imported_by(*modules: str) -> set[str]:
    """Return what of OpenTelemetry a fresh process has after it imported these modules."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", f"import {', '.join(modules)}; {SHOW}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**environment, **SERVERS})
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        # redis-py looks for the SDK's metrics by itself, where they are installed.
        pytest.param(("workers.app", "workers.lifetime", "workers.engine.running"), ("redis",), id="worker"),
        pytest.param(("workers.search.__main__",), ("redis",), id="search server"),
        pytest.param(("api.app", "api.server"), ("fastapi", "mcp.server", "redis"), id="api"),
    ],
)
def test_a_process_that_is_not_traced_imports_no_more_of_opentelemetry_than_its_libraries_do(
    ours: tuple[str, ...], theirs: tuple[str, ...]
) -> None:
    imported = imported_by(*ours, "shared.tracing")

    assert imported <= imported_by(*theirs)
    assert not [name for name in imported if name.startswith(COSTLY)]


def test_whoever_asks_for_traces_without_the_extra_is_told_and_served_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "shared.otel", raising=False)
    monkeypatch.setitem(sys.modules, EXPORTER, None)

    with (
        caplog.at_level(logging.WARNING, "shared.tracing"),
        tracing.running(asked_for(), "backline-api"),
        tracing.span("work"),
    ):
        assert tracing.traceparent() is None

    assert "backline[tracing]" in caplog.text


def asked_for() -> Settings:
    return Settings().model_copy(update={"otlp_endpoint": "http://127.0.0.1:1"})


def test_an_empty_endpoint_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    monkeypatch.setitem(sys.modules, "shared.otel", None)  # whose import would be an error

    with tracing.running(Settings(), "backline-api"):
        assert tracing.traceparent() is None
