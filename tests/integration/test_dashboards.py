"""Every panel's expression is asked of a real Prometheus that scrapes a stack on which jobs have run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.grafana.__main__ import FOLDER, file_of, text
from deploy.grafana.pages import PAGES, RATE
from deploy.running import RunningStack
from tests.machine import Part, free_port
from tests.mcp_client import MODERN, body
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
WINDOW = "30s"
EXPRESSIONS = [
    pytest.param(expr, id=f"{page.uid}: {title} {n}")
    for page in PAGES
    for n, (title, expr) in enumerate(page.expressions)
]


@pytest.fixture(scope="module")
def prometheus(
    stack: RunningStack, http: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A Prometheus that has seen the stack at work: jobs, a tool call, a request that failed."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration(stack)))
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    part = Part("prometheus", [*command, f"--web.listen-address=127.0.0.1:{port}"], folder, {})
    part.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            wait_until(lambda: result(client, 'up{job="backline-api"} == 1'), what="the first scrape")
            work(http)
            counted = (
                "sum(increase(backline_jobs_ended_total[30s])) > 0 and sum(increase(backline_items_total[30s])) > 0"
            )
            wait_until(lambda: seen(client, http, counted), what="the scrape of a job's end", seconds=60)
            yield client
    finally:
        part.terminate()


def configuration(stack: RunningStack) -> dict[str, Any]:
    """Return the configuration of a Prometheus that reads from a stack with its key, every second."""
    target = stack.url.removeprefix("http://")
    job = {
        "job_name": "backline-api",
        "authorization": {"credentials_file": str(stack.key_file)},
        "static_configs": [{"targets": [target]}],
    }
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy" / "prometheus" / "alerts.yml")],
        "scrape_configs": [job],
    }


def work(http: httpx.Client) -> None:
    """Have every counter count that does so where all is well."""
    for fails in ([], [1]):
        request = {"userId": "ada", "items": 20, "fails": fails}
        job = http.post("/api/jobs/squares", json=request, headers={"Prefer": "wait=20"}, timeout=30).json()
    http.post(f"/api/jobs/{job['id']}/retry")
    http.get("/api/jobs/job_of_nobody")
    http.post("/api/search", json={"query": "of the test"})  # there is no index, which is an answer, too
    call = body("tools/call", {"name": "list_jobs", "arguments": {}})
    http.post("/mcp", json=call, headers={**MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "list_jobs"})


def seen(client: httpx.Client, http: httpx.Client, expr: str) -> list[Any]:
    """Return what an expression finds after some more work."""
    work(http)
    return result(client, expr)


def result(client: httpx.Client, expr: str) -> list[Any]:
    """Return what an expression finds; nothing while the server still starts."""
    try:
        answer = client.get("/api/v1/query", params={"query": expr})
    except httpx.TransportError:
        return []
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return []
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["data"]["result"]
    return found


def test_the_dashboards_in_the_repository_are_those_of_the_code() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == {file_of(page).name for page in PAGES}
    for page in PAGES:
        assert file_of(page).read_text() == text(page), "write them anew: python -m deploy.grafana"


def test_no_two_panels_lie_over_each_other() -> None:
    for page in PAGES:
        cells = [
            (page.uid, x, y)
            for panel in page.to_json()["panels"]
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for _, x, _ in cells) < 24


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_a_panel_shows_data(expr: str, prometheus: httpx.Client) -> None:
    assert wait_until(lambda: result(prometheus, expr.replace(RATE, WINDOW)), seconds=15, what=expr)


def test_every_expression_of_an_alert_can_be_asked_and_none_fires_on_a_stack_that_is_well(
    prometheus: httpx.Client,
) -> None:
    rules = prometheus.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]

    assert {rule["health"] for rule in wait_until(lambda: evaluated(prometheus))} == {"ok"}
    assert len(rules) >= 14
    assert not [rule["name"] for rule in rules if rule["state"] == "firing"]


def evaluated(client: httpx.Client) -> list[Any]:
    rules: list[Any] = client.get("/api/v1/rules").json()["data"]["groups"][0]["rules"]
    return rules if all(rule["health"] != "unknown" for rule in rules) else []


def test_every_number_that_an_alert_or_a_panel_names_is_one_that_there_is(prometheus: httpx.Client) -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    scaling = (ROOT / "deploy" / "k8s" / "base" / "scaling.yaml").read_text()
    texts = [*(rule["expr"] for rule in rules), scaling, *(expr for page in PAGES for _, expr in page.expressions)]
    named = {name for text in texts for name in re.findall(r"\bbackline_[a-z_]+", text)}

    known = set(prometheus.get("/api/v1/label/__name__/values").json()["data"])
    # What an embedded stack has not: a replica set, a bounded Redis, an index, a fault, somebody else to ask.
    rare = {"backline_mongodb_replication_lag_seconds", "backline_redis_memory_limit_bytes", "backline_index_bytes"}
    rare |= {"backline_index_age_seconds", "backline_index_entries", "backline_item_faults_total"}
    rare |= {"backline_provider_calls_total", "backline_provider_call_seconds_bucket"}
    rare |= {"backline_chunks_total", "backline_jobs_open", "backline_jobs_still_seconds"}
    assert named - rare <= known
