"""One trace from the request to the merge of its last chunk, though no doorbell says whose chunk it rings for."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from shared import logs, tracing
from shared.clock import now
from shared.lifecycle import retry
from shared.model import Db
from shared.settings import LogFormat, Settings
from shared.store import jobs, schedules
from shared.store.schedules import Schedule
from tests.api_server import bearer
from tests.integration.engine import Engine, engine_on
from tests.machine import Machine, Part, free_port
from tests.mcp_client import MODERN, body
from tests.search_stage import SearchProcess, Show, publish, wait_until_open
from tests.waiting import wait_until
from workers.engine.ticking import tick

if find_spec("opentelemetry.sdk") is None:
    assert "CI" not in os.environ, "the lock must have the extra `tracing`"
    pytest.skip("the extra `tracing` is not installed", allow_module_level=True)

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id

from shared.otel import CLOSE_SECONDS, OtelTracer, provider_of
from tests.collector import Collector, ReceivedSpan, collecting

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, SPAN = CALLER.split("-")[1:3]


@pytest.fixture
def memory() -> Iterator[InMemorySpanExporter]:
    """What is traced in this process, kept in memory."""
    exporter = InMemorySpanExporter()
    provider = provider_of("backline-test", SimpleSpanProcessor(exporter))
    tracing.use(OtelTracer(provider))
    yield exporter
    tracing.end()


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as running:
        yield running


def found(memory: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in memory.get_finished_spans() if span.name == name]


def traces(spans: list[ReadableSpan]) -> set[str]:
    return {format_trace_id(span.context.trace_id) for span in spans}


def test_work_belongs_to_the_trace_of_the_request_though_nothing_but_the_job_tells_of_it(
    memory: InMemorySpanExporter, engine: Engine
) -> None:
    with tracing.span("request", within=CALLER):
        job = engine.submit("squares", items=25)
    with tracing.span("other request", within=tracing.NEW):
        other = engine.submit("squares", items=5)
    engine.drive(job.id)
    engine.drive(other.id)

    (request,) = found(memory, "request")
    for name, count in (("plan squares", 1), ("chunk squares", 3), ("merge squares", 3), ("finish squares", 1)):
        spans = [span for span in found(memory, name) if format_trace_id(span.context.trace_id) == TRACE]
        assert len(spans) >= count, name
        if not name.startswith("merge"):
            assert {span.parent and span.parent.span_id for span in spans} == {request.context.span_id}
            assert {(span.attributes or {})["backline.job_id"] for span in spans} == {job.id}
    chunks = {span.context.span_id for span in found(memory, "chunk squares")}
    assert {span.parent and span.parent.span_id for span in found(memory, "merge squares")} <= chunks
    assert sum(int(str((span.attributes or {})["backline.items"])) for span in found(memory, "chunk squares")) == 30
    assert len(traces(found(memory, "finish squares"))) == 2


def test_a_chunk_is_the_child_of_its_own_doorbell_and_only_linked_to_anothers(
    memory: InMemorySpanExporter, engine: Engine
) -> None:
    with tracing.span("request", within=CALLER):
        job = engine.submit("squares", items=25)
    with tracing.span("doorbell", within=CALLER):
        engine.plan(job.id)
    with tracing.span("somebody else's doorbell"):
        engine.run()

    (doorbell,) = found(memory, "doorbell")
    (plan,) = found(memory, "plan squares")
    assert plan.parent is not None
    assert plan.parent.span_id == doorbell.context.span_id
    (chunk,) = found(memory, "chunk squares")
    (foreign,) = found(memory, "somebody else's doorbell")
    assert traces([chunk]) == {TRACE}
    assert [link.context.span_id for link in chunk.links] == [foreign.context.span_id]


def test_a_retry_belongs_to_the_trace_of_the_request_for_it(memory: InMemorySpanExporter, engine: Engine) -> None:
    with tracing.span("request", within=CALLER):
        job = engine.submit("squares", items=5, fails=[2])
    engine.drive(job.id)
    with tracing.span("retry"):
        retry(engine.db, job.id)
    memory.clear()

    engine.drive(job.id)

    assert traces(found(memory, "finish squares")) == traces(found(memory, "chunk squares"))
    assert TRACE not in traces(found(memory, "finish squares"))
    assert jobs.get(engine.db, job.id).traceparent is not None


def test_a_schedule_begins_a_trace_for_each_of_its_jobs(memory: InMemorySpanExporter, engine: Engine) -> None:
    moment = now()
    schedules.insert(
        engine.db,
        Schedule(
            id="local/often",
            owner="local",
            user_id="ada",
            name="often",
            kind="squares",
            request={"items": 2},
            every_seconds=3600.0,
            next_at=moment,
            created_at=moment,
            updated_at=moment,
        ),
    )
    with tracing.span("beat", within=f"{CALLER[:-2]}00"):  # as the doorbell of a beat, which is left out
        tick(engine.process)
    (document,) = engine.db[jobs.COLLECTION].find()
    engine.drive(document["_id"])

    (schedule,) = found(memory, "schedule squares")
    assert schedule.parent is None
    assert traces(found(memory, "finish squares")) == traces([schedule])


def test_a_chunk_that_breaks_off_is_marked_without_what_must_not_be_told(
    memory: InMemorySpanExporter, engine: Engine
) -> None:
    job = engine.submit("squares", items=2, mergeFails=True)
    engine.plan(job.id)
    engine.run()

    (chunk,) = found(memory, "chunk squares")
    assert chunk.status.status_code is StatusCode.ERROR
    assert "the merge can't go on" in str(chunk.status.description)
    with pytest.raises(ConnectionError), tracing.span("call"):
        raise ConnectionError("redis://:hunter2hunter2@cache:6379/0 is down")
    assert "hunter2" not in str(found(memory, "call")[0].status.description)


def test_calls_and_doorbells_outside_of_every_trace_are_left_out() -> None:
    exporter = InMemorySpanExporter()
    tracer = provider_of("backline-test", SimpleSpanProcessor(exporter)).get_tracer("test")
    for kind in SpanKind:
        tracer.start_span(f"alone {kind.name}", kind=kind).end()
    with tracer.start_as_current_span("request"):
        for kind in SpanKind:
            tracer.start_span(f"within {kind.name}", kind=kind).end()
    with tracer.start_as_current_span("doorbell", kind=SpanKind.CONSUMER):
        tracer.start_span("find", kind=SpanKind.CLIENT).end()

    names = {span.name for span in exporter.get_finished_spans()}
    alone = {"alone INTERNAL", "alone SERVER"}
    assert names == alone | {"request"} | {f"within {kind.name}" for kind in SpanKind}


def test_what_the_caller_does_not_record_we_do_not_either(memory: InMemorySpanExporter, engine: Engine) -> None:
    with tracing.span("request", within=f"{CALLER[:-2]}00"):
        job = engine.submit("squares", items=5)
    engine.drive(job.id)

    assert jobs.get(engine.db, job.id).traceparent is not None
    assert not memory.get_finished_spans()


def test_a_line_of_the_log_bears_the_id_of_its_trace(memory: InMemorySpanExporter) -> None:
    out = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.set_up(Settings(log_format=LogFormat.JSON), stream=out)
    try:
        with tracing.span("request", within=CALLER):
            logging.getLogger("api").info("within")
        logging.getLogger("api").info("outside")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)

    within, outside = (json.loads(line) for line in out.getvalue().splitlines())
    assert within["trace"] == TRACE
    assert "trace" not in outside


def test_the_end_of_a_process_waits_for_a_silent_collector_for_some_seconds_only() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        code = (
            "from shared import tracing; from shared.settings import Settings\n"
            "with tracing.running(Settings(), 'backline-test'), tracing.span('request', within=tracing.NEW): pass"
        )
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        started = time.monotonic()
        subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)

    assert time.monotonic() - started < CLOSE_SECONDS + 6


# Real processes


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[tuple[Machine, httpx.Client]]:
    """Workers and an API, each in its own process, that send their spans to the collector."""
    folder = tmp_path_factory.mktemp("machine")
    environment = {
        "BACKLINE_JOB_MODULES": "tests.kinds",
        "BACKLINE_LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    machine = Machine(folder, environment)
    port = free_port()
    key = folder / "api.key"
    api = Part(
        "api",
        [sys.executable, "-m", "api.server", "--port", str(port)],
        folder,
        {**machine.settings, "BACKLINE_API_KEY_FILE": str(key)},
    )
    machine.heal()
    api.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            wait_until(lambda: _is_live(client), what="the API", seconds=60)
            client.headers.update(bearer(key.read_text().strip()))
            yield machine, client
    finally:
        api.terminate()
        machine.stop()


def _is_live(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def test_one_trace_leads_through_all_processes_from_the_request_to_the_end(
    traced: tuple[Machine, httpx.Client], collector: Collector
) -> None:
    machine, client = traced
    answer = client.post(
        "/api/jobs/squares",
        json={"userId": "ada", "items": 40},
        headers={"traceparent": CALLER, "Prefer": "wait=30"},
    )
    assert answer.json()["status"] == "succeeded", answer.text
    wait_until(lambda: "finish squares" in collector.names(TRACE), what="the span of the job's end")
    wait_until(lambda: "POST /api/jobs/squares" in collector.names(TRACE), what="the span of the request")
    # Each process sends its own in batches, so a parent may come in after its children.
    wait_until(lambda: not _orphans(collector.of(TRACE)), what="every span's parent")

    spans = collector.of(TRACE)
    by_id = {span.id: span for span in spans}
    (request,) = [span for span in spans if span.parent == SPAN]
    assert (request.name, request.service, request.kind) == ("POST /api/jobs/squares", "backline-api", "SERVER")
    chunks = [span for span in spans if span.name == "chunk squares"]
    assert sum(int(span.attributes["backline.items"]) for span in chunks) == 40
    assert {span.service for span in chunks} == {"backline-worker"}
    merges = [span for span in spans if span.name == "merge squares"]
    assert {by_id[span.parent].name for span in merges} == {"chunk squares"}
    scopes = {(span.service, span.scope.rpartition(".")[2]) for span in spans}
    assert scopes >= {
        *(("backline-api", "fastapi"), ("backline-api", "pymongo"), ("backline-worker", "pymongo")),
        *(("backline-worker", "celery"), ("backline-worker", "redis"), ("backline-worker", "backline")),
    }
    job_id = answer.json()["id"]
    lines = [json.loads(line) for line in machine.heavy.log.read_text().splitlines() if job_id in line]
    assert {line["trace"] for line in lines} == {TRACE}


def _orphans(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    ids = {span.id for span in spans} | {SPAN}
    return [span for span in spans if span.parent not in ids]


def test_a_job_whose_doorbells_are_lost_keeps_its_trace(
    traced: tuple[Machine, httpx.Client], collector: Collector
) -> None:
    machine, client = traced
    trace = "1" * 32
    machine.servers.valkey.kill()
    answer = client.post(
        "/api/jobs/squares", json={"userId": "ada", "items": 20}, headers={"traceparent": f"00-{trace}-{'2' * 16}-01"}
    )
    assert answer.status_code == 202
    machine.servers.start()

    wait_until(lambda: "finish squares" in collector.names(trace), what="the job's end", seconds=90)

    assert {"POST /api/jobs/squares", "plan squares", "chunk squares", "merge squares"} <= collector.names(trace)


def test_a_search_server_goes_on_with_the_trace_of_the_request(
    db: Db, settings: Settings, tmp_path: Path, collector: Collector
) -> None:
    stage = Settings.model_validate({**settings.model_dump(), "index_dir": tmp_path / "indexes"})
    pointer = publish(db, stage, [Show(id="1", title="Cowboy", theme="space", is_embedded=False).entry()])
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    server = SearchProcess(stage, tmp_path, **exporting)
    port, key = free_port(), tmp_path / "api.key"
    told = {**server.part.environment, "BACKLINE_SEARCH_URL": server.url, "BACKLINE_API_KEY_FILE": str(key)}
    api = Part("api", [sys.executable, "-m", "api.server", "--port", str(port)], tmp_path, told)
    server.part.start()
    api.start()
    trace = "3" * 32
    try:
        wait_until_open(server.url, pointer)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            wait_until(lambda: _is_live(client), what="the API", seconds=60)
            headers = {**bearer(key.read_text().strip()), "traceparent": f"00-{trace}-{'4' * 16}-01"}
            found = client.post("/api/search", json={"query": "cowboy", "mode": "lexical"}, headers=headers)
        assert found.status_code == 200, found.text
        wait_until(lambda: {"POST /api/search", "search catalogue"} <= collector.names(trace), what="both sides")
    finally:
        api.terminate()
        server.part.terminate()

    by_name = {span.name: span for span in collector.of(trace)}
    by_id = {span.id: span for span in collector.of(trace)}
    asking = by_id[by_name["search catalogue"].parent]
    assert (asking.service, asking.kind) == ("backline-api", "CLIENT")
    assert by_id[asking.parent].name == "POST /api/search"


def test_a_tool_call_and_a_request_of_nobody_traced_begin_traces_and_idling_begins_none(
    traced: tuple[Machine, httpx.Client], collector: Collector
) -> None:
    _, client = traced
    client.get("/health/live")
    assert client.get("/api/jobs").status_code == 200
    call = body("tools/call", {"name": "list_jobs", "arguments": {}})
    client.post("/mcp", json=call, headers={**MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "list_jobs"})
    for name in ("GET /api/jobs", "POST /mcp", "tools/call list_jobs"):
        wait_until(lambda name=name: any(span.name == name for span in collector.spans), what=name)  # type: ignore[misc]

    ids = {span.id for span in collector.spans} | {SPAN, "2" * 16, "4" * 16}
    beginnings = {(span.kind, span.name) for span in collector.spans if span.parent not in ids}
    assert {kind for kind, _ in beginnings} == {"SERVER"}
    assert "tools/call list_jobs" not in {name for _, name in beginnings}
    assert not [name for _, name in beginnings if "health" in name]
