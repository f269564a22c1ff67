"""What a search server tells Prometheus: at its own port, or in the folder that the API of the same machine reads."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from shared.exposition import WorkerCounts, joined
from shared.model import Db
from shared.settings import Settings
from tests.machine import free_port
from tests.search_stage import TOKEN, SearchProcess, Show, publish, wait_until_open
from tests.waiting import wait_until

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def stage(settings: Settings, tmp_path: Path) -> Settings:
    return Settings.model_validate({**settings.model_dump(), "index_dir": tmp_path / "indexes"})


def entries(count: int) -> list[Any]:
    return [Show(id=str(n), title=f"Show {n}", theme="space", is_embedded=False).entry() for n in range(count)]


def parsed(text: str) -> Numbers:
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def served(port: int) -> Numbers:
    return parsed(httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text)


def value(numbers: Numbers, name: str, **labels: str) -> float:
    return numbers.get((f"backline_search_{name}", frozenset(labels.items())), 0.0)


def ask(server: SearchProcess, path: str, **body: Any) -> httpx.Response:
    document = {"owner": "local", **body}
    return httpx.post(f"{server.url}{path}", json=document, headers=HEADERS, timeout=20, trust_env=False)


def search(server: SearchProcess, **body: Any) -> httpx.Response:
    return ask(server, "/search", search={"index": "catalogue", **body})


def test_searches_are_counted_by_index_mode_and_end_and_the_server_tells_how_it_stands(
    db: Db, stage: Settings, tmp_path: Path
) -> None:
    pointer = publish(db, stage, entries(30))
    port = free_port()
    server = SearchProcess(stage, tmp_path, BACKLINE_METRICS_PORT=str(port))
    server.part.start()
    try:
        wait_until_open(server.url, pointer)
        for _ in range(2):
            assert search(server, query="pilots", mode="semantic").status_code == 200
        assert search(server, query="show", mode="lexical").status_code == 200
        assert search(server, itemId="7").status_code == 200
        assert search(server, itemId="of nobody").status_code == 400
        assert ask(server, "/playlists", playlist={"seeds": ["of nobody"]}).status_code == 400
        wait_until(lambda: value(served(port), "indexes", index="catalogue"), what="a note of how it stands")
        numbers = served(port)

        counted = {
            (labels["mode"], labels["outcome"]): number
            for (name, pairs), number in numbers.items()
            if name == "backline_search_seconds_count" and (labels := dict(pairs))["index"] == "catalogue"
        }
        assert counted == {
            ("semantic", "ok"): 2,
            ("lexical", "ok"): 1,
            ("similar", "ok"): 1,
            ("similar", "refused"): 1,
        }
        assert value(numbers, "seconds_count", index="tracks", mode="playlist", outcome="refused") == 1
        assert value(numbers, "embedding_seconds_count") == 1  # the second time it was known
        assert value(numbers, "opened_total", index="catalogue") == 1
        assert value(numbers, "indexes_behind", index="catalogue") == 0
        assert value(numbers, "indexes_resting", index="catalogue") == 0
        assert value(numbers, "index_bytes", index="catalogue") > 1000
        assert 0 <= value(numbers, "index_age_seconds", index="catalogue") < 120
        assert value(numbers, "memory_bytes") > 50e6
        assert abs(time.time() - value(numbers, "followed_timestamp_seconds")) < 30
        assert value(numbers, "waiting") == 0
        assert ("process_resident_memory_bytes", frozenset()) in numbers
    finally:
        server.part.terminate()


def test_an_index_whose_newest_snapshot_is_damaged_is_behind(db: Db, stage: Settings, tmp_path: Path) -> None:
    first = publish(db, stage, entries(10))
    counts = tmp_path / "counts"
    server = SearchProcess(stage, tmp_path, BACKLINE_METRICS_DIR=str(counts))
    page = joined(WorkerCounts(counts))

    def behind() -> float:
        return value(parsed(generate_latest(page).decode()), "indexes_behind", index="catalogue")

    server.part.start()
    try:
        wait_until_open(server.url, first)
        assert behind() == 0
        second = publish(db, stage, entries(12))
        wait_until_open(server.url, second)
        server.part.kill()
        for path in (stage.index_dir / "local" / "catalogue" / second.snapshot).iterdir():
            path.unlink()
        server.part.start()
        wait_until_open(server.url, first)

        assert wait_until(lambda: behind() == 1)
    finally:
        server.part.kill()


def test_an_index_that_rests_is_told_apart_from_one_that_is_open(db: Db, stage: Settings, tmp_path: Path) -> None:
    publish(db, stage, entries(10), owner="band")
    newer = publish(db, stage, entries(10), owner="choir")
    port = free_port()
    server = SearchProcess(stage, tmp_path, BACKLINE_METRICS_PORT=str(port), BACKLINE_SEARCH_OPEN_MAX="1")
    server.part.start()
    try:
        wait_until_open(server.url, newer)
        wait_until(lambda: value(served(port), "indexes_resting", index="catalogue") == 1)
        assert value(served(port), "indexes", index="catalogue") == 1
        assert value(served(port), "indexes_behind", index="catalogue") == 0
    finally:
        server.part.kill()


def test_a_metrics_port_that_is_taken_ends_the_server_with_a_line(stage: Settings, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = SearchProcess(stage, tmp_path, BACKLINE_METRICS_PORT=str(taken.getsockname()[1]))
        server.part.start()
        wait_until(lambda: not server.part.is_alive, what="the server's end", seconds=60)

    assert "BACKLINE_METRICS_PORT" in server.part.log.read_text().splitlines()[-1]
