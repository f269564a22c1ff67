"""What Prometheus reads: from the API, from a whole stack, and from a worker that was started by itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.running import RunningStack
from shared.access import Scope
from shared.broker import Queue
from shared.clock import now
from shared.model import Db
from shared.settings import Settings
from shared.store import indexes, jobs, load, slots
from shared.store.database import connect
from shared.store.indexes import IndexPointer, Published
from shared.store.job_record import JobStatus
from shared.store.slots import Slot
from tests.api_server import Worker, serving
from tests.holders import client_of, give_key
from tests.machine import Machine, free_port
from tests.mcp_client import MODERN, body
from tests.waiting import wait_until

Numbers = dict[str, dict[frozenset[tuple[str, str]], float]]
SERIES_MAX = 2_500
"""Routes times outcomes times buckets: what the tests before have asked of the same stack counts, too."""


def parsed(text: str) -> Numbers:
    """Return every sample by its name and labels, as Prometheus itself would read them."""
    found: Numbers = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def page(client: httpx.Client) -> Numbers:
    response = client.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    return parsed(response.text)


def value(numbers: Numbers, name: str, **labels: str) -> float:
    return numbers.get(name, {}).get(frozenset(labels.items()), 0.0)


def test_only_the_scope_of_metrics_opens_the_page(api: httpx.Client, db: Db) -> None:
    with client_of(give_key(db, "band"), api.base_url) as everyday:
        assert everyday.get("/metrics").status_code == 403
    with client_of(give_key(db, "band", (Scope.METRICS,)), api.base_url) as prometheus:
        assert prometheus.get("/metrics").status_code == 200
        assert prometheus.get("/api/jobs").status_code == 403
    assert httpx.get(f"{api.base_url}/metrics", trust_env=False).status_code == 401


def test_requests_are_counted_by_the_form_of_their_route(api: httpx.Client) -> None:
    for number in range(5):
        assert api.get(f"/api/jobs/job_{number}").status_code == 404
    api.get("/health/live")
    api.get("/no/such/place")
    api.request("BREW", "/api/jobs")

    numbers = page(api)

    requests = "backline_http_requests_total"
    assert value(numbers, requests, method="GET", route="/api/jobs/{job_id}", status="404") == 5
    assert value(numbers, requests, method="GET", route="/health/live", status="200") == 1
    assert value(numbers, requests, method="GET", route="unmatched", status="404") == 1
    assert sum(count for labels, count in numbers[requests].items() if ("method", "other") in labels) == 1
    assert value(numbers, "backline_http_request_seconds_count", method="GET", route="/api/jobs/{job_id}") == 5
    assert value(numbers, "backline_http_requests_open") == 1  # this one


def test_a_tool_call_is_counted_by_how_it_ended(api: httpx.Client) -> None:
    for arguments in ({"jobId": "job_1"}, {}):
        call = body("tools/call", {"name": "get_job", "arguments": arguments})
        headers = {**MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "get_job"}
        assert api.post("/mcp", json=call, headers=headers).status_code == 200
    call = body("tools/call", {"name": "list_jobs", "arguments": {}})
    api.post("/mcp", json=call, headers={**MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "list_jobs"})

    numbers = page(api)

    assert value(numbers, "backline_mcp_calls_total", tool="get_job", outcome="refused") == 2
    assert value(numbers, "backline_mcp_calls_total", tool="list_jobs", outcome="ok") == 1
    assert value(numbers, "backline_mcp_call_seconds_count", tool="get_job") == 2
    assert value(numbers, "backline_http_requests_total", method="POST", route="/mcp", status="200") == 3


def test_a_request_keeps_the_id_of_the_proxy_before_us_if_it_is_a_plain_one(api: httpx.Client) -> None:
    def id_of(sent: str | None) -> str:
        headers = {} if sent is None else {"X-Request-ID": sent}
        return api.get("/health/live", headers=headers).headers["x-request-id"]

    assert id_of("from-the-proxy:7") == "from-the-proxy:7"
    made = {id_of(None), id_of("with a space"), id_of("x" * 65)}
    assert len(made) == 3
    assert all(len(one) == 16 for one in made)


def test_the_state_shows_what_waits_what_runs_and_who_is_there(api: httpx.Client, db: Db, worker: Worker) -> None:
    moment = now()
    slots.save(
        db,
        Slot(id="h:1:1", worker="heavy@a", queues=(Queue.CPU,), rss_mb=100.0, started_at=moment, seen_at=moment),
    )
    slots.save(
        db,
        Slot(
            id="h:2:1", worker="heavy@b", queues=(Queue.CPU, Queue.IO), rss_mb=50.0, started_at=moment, seen_at=moment
        ),
    )
    worker.begin(worker.submit(items=5).id)
    worker.submit(items=5)
    publish_index(db, moment)

    numbers = page(api)

    assert value(numbers, "backline_jobs_open", kind="squares", status="running") == 1
    assert value(numbers, "backline_jobs_open", kind="squares", status="queued") == 1
    assert value(numbers, "backline_queue_processes", queue="cpu") == 2
    assert value(numbers, "backline_queue_processes", queue="io") == 1
    assert value(numbers, "backline_queue_processes", queue="bulk") == 0
    assert value(numbers, "backline_worker_memory_bytes", worker="heavy") == 150e6
    assert value(numbers, "backline_worker_memory_max_bytes", worker="heavy") == 100e6
    assert value(numbers, "backline_index_entries", index="tracks") == 7
    assert value(numbers, "backline_index_bytes", index="tracks") == 1000
    assert value(numbers, "backline_server_up", server="mongodb") == 1
    assert value(numbers, "backline_server_up", server="redis") == 1
    assert value(numbers, "backline_redis_memory_bytes") > 100_000


def publish_index(db: Db, watermark: datetime, owner: str = "local") -> None:
    published = Published(snapshot="s", entries=7, bytes=1000, watermark=watermark, built_at=watermark)
    assert indexes.swing(db, IndexPointer.following(None, published, owner=owner, name="tracks"))


def test_an_index_that_has_all_there_is_has_no_age(api: httpx.Client, db: Db) -> None:
    publish_index(db, now() - timedelta(days=9))

    assert value(page(api), "backline_index_age_seconds", index="tracks") == 0


def test_an_index_that_lacks_something_is_as_old_as_the_first_change(api: httpx.Client, db: Db) -> None:
    publish_index(db, now() - timedelta(days=9), owner="other")
    publish_index(db, now() - timedelta(days=7))
    moments = (now() - timedelta(days=days) for days in (8, 5, 3))
    db["audio_features"].insert_many(
        [{"userId": "ada", "trackId": str(n), "updatedAt": one} for n, one in enumerate(moments)]
    )

    age = value(page(api), "backline_index_age_seconds", index="tracks")

    assert 5 * 86400 <= age < 5 * 86400 + 60


def test_the_oldest_waiting_chunk_gives_the_age_of_its_queue(db: Db) -> None:
    documents = [
        {"_id": str(n), "queue": "cpu", "visibleAt": visible_at, "turn": 0.0}
        for n, visible_at in enumerate(
            (None, now().replace(year=2026, month=1, day=1), now(), now().replace(year=2099))
        )
    ]
    db["chunks"].insert_many(documents)

    cpu = next(one for one in load.waiting(db) if one.queue is Queue.CPU)

    assert cpu.chunks == 2
    assert cpu.oldest == documents[1]["visibleAt"]


def test_a_server_that_is_down_is_said_to_be_and_the_rest_is_there(settings: Settings, db: Db) -> None:
    changed = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    with serving(changed) as api:
        numbers = page(api)

    assert value(numbers, "backline_server_up", server="redis") == 0
    assert value(numbers, "backline_server_up", server="mongodb") == 1
    assert value(numbers, "backline_queue_chunks", queue="cpu") == 0
    assert "backline_queue_rings" not in numbers


@contextmanager
def machine(folder: Path, *, heavy: int | None = None, control: int | None = None) -> Iterator[Machine]:
    """Run a machine whose workers have these ports for Prometheus."""
    folder.mkdir()
    whole = Machine(folder, {"BACKLINE_JOB_MODULES": "tests.kinds"})
    for part, port in ((whole.heavy, heavy), (whole.control, control)):
        if port is not None:
            part.environment["BACKLINE_METRICS_PORT"] = str(port)
    whole.heal()
    try:
        yield whole
    finally:
        whole.stop()


def of(port: int) -> Numbers:
    """Return what is served at a port, and nothing as long as nobody listens."""
    try:
        return parsed(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text)
    except httpx.TransportError:
        return {}


def test_a_worker_by_itself_serves_what_its_children_count_and_their_successors_go_on(tmp_path: Path) -> None:
    heavy, control = free_port(), free_port()
    with machine(tmp_path / "machine", heavy=heavy, control=control) as whole:
        db = connect(Settings(mongodb_uri=whole.servers.mongodb_uri, redis_url=whole.servers.redis_url))
        with db.client:
            for total in (40, 80):
                job = Worker(db).submit(items=40)
                wait_until(lambda job=job: jobs.get(db, job.id).status.is_final, seconds=90)  # type: ignore[misc]
                served = of(heavy)
                assert value(served, "backline_items_total", kind="squares", status="succeeded") == total
                for pid in whole.heavy.children():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        assert value(served, "backline_chunk_seconds_count", kind="squares") >= 2
        assert value(served, "backline_store_seconds_count", step="record") >= 2
        assert value(of(control), "backline_store_seconds_count", step="ring") >= 2
        assert "process_resident_memory_bytes" in served
        assert value(of(control), "backline_jobs_ended_total", kind="squares", status="succeeded") == 2
        assert wait_until(lambda: value(of(control), "backline_reaper_actions_total", action="looked"))


def test_a_port_that_is_taken_ends_the_worker_with_a_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with machine(tmp_path / "machine", heavy=taken.getsockname()[1]) as whole:
            wait_until(lambda: not whole.heavy.is_alive, what="the worker's end", seconds=60)
            assert "BACKLINE_METRICS_PORT" in whole.heavy.log.read_text().splitlines()[-1]


def test_a_stack_shows_everything_in_one_place_and_few_series_however_many_jobs(
    http: httpx.Client, stack: RunningStack
) -> None:
    def series() -> tuple[Numbers, int]:
        numbers = page(http)
        return numbers, sum(len(samples) for samples in numbers.values())

    def run_some(count: int) -> None:
        ids = [
            http.post("/api/jobs/squares", json={"userId": f"user{n}", "items": 1}).json()["id"] for n in range(count)
        ]
        for job_id in ids:
            wait_until(
                lambda job_id=job_id: http.get(f"/api/jobs/{job_id}").json()["status"] == "succeeded",  # type: ignore[misc]
                seconds=60,
            )

    run_some(20)
    numbers, before = series()
    assert value(numbers, "backline_jobs_submitted_total", kind="squares") >= 20
    run_some(200)
    numbers, after = series()
    assert after - before < 25, "series must not grow with jobs"
    assert after < SERIES_MAX
    assert not any(
        text.startswith(("job_", "user")) for samples in numbers.values() for labels in samples for _, text in labels
    )
    assert value(numbers, "backline_items_total", kind="squares", status="succeeded") >= 220
    assert value(numbers, "backline_disk_free_bytes", folder="data") > 0


WORK = """
import sys
from pathlib import Path
from shared.clock import now
from shared.items import ItemStatus
from shared.store.job_record import JobRecord
from workers.engine import counting

counting.begin(Path(sys.argv[1]), "heavy-0")
for n in range(int(sys.argv[2])):
    job = JobRecord(
        id=f"job_{n}", kind="squares", owner=f"owner{n}", user_id="u", request={}, created_at=now(), updated_at=now()
    )
    counting.chunk_recorded(job.kind, {ItemStatus.SUCCEEDED: 1}, [], 0.1)
    counting.job_ended(job, "succeeded", 1.0)
"""


@pytest.mark.timeout(400)
def test_there_are_no_more_series_after_ten_thousand_jobs_than_after_a_few(
    settings: Settings, db: Db, tmp_path: Path
) -> None:
    counts = tmp_path / "counts"
    roomy = {"rate_requests": "90000 per minute", "rate_submits": "90000 per minute", "quota_open_jobs": 20_000}
    with serving(settings.model_copy(update={**roomy, "metrics_dir": counts})) as api, ThreadPoolExecutor(8) as pool:

        def submit(number: int) -> int:
            return api.post("/api/jobs/squares", json={"userId": f"user{number}", "items": 1}).status_code

        def names_after(count: int) -> set[tuple[str, frozenset[tuple[str, str]]]]:
            assert set(pool.map(submit, range(count))) == {202}
            subprocess.run([sys.executable, "-c", WORK, str(counts), str(count)], check=True)
            wait_until(lambda: value(page(api), "backline_jobs_open", kind="squares", status="queued") >= count)
            return {(name, labels) for name, samples in page(api).items() for labels in samples}

        few = names_after(20)
        many = names_after(10_000)
        numbers = page(api)

    assert many == few
    assert value(numbers, "backline_jobs_submitted_total", kind="squares") == 10_020
    assert value(numbers, "backline_jobs_ended_total", kind="squares", status="succeeded") == 10_020


def test_a_job_that_is_tried_again_is_counted_by_its_kind(api: httpx.Client, worker: Worker) -> None:
    job = worker.ended(JobStatus.FAILED, items=2)
    assert api.post(f"/api/jobs/{job.id}/retry").status_code == 202
    assert api.post(f"/api/jobs/{job.id}/retry").status_code == 409

    assert value(page(api), "backline_jobs_retried_total", kind="squares") == 1


def test_the_state_is_asked_for_once_in_some_seconds(api: httpx.Client, worker: Worker) -> None:
    started = time.monotonic()
    page(api)
    worker.submit(items=1)
    page(api)
    again = page(api)

    if time.monotonic() - started < 4.0:
        assert value(again, "backline_jobs_open", kind="squares", status="queued") == 0
    assert wait_until(lambda: value(page(api), "backline_jobs_open", kind="squares", status="queued") == 1, seconds=15)
