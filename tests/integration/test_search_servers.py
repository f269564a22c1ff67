"""Several search servers behind one address: they share the searches, and one that comes back has its part again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.model import Db
from shared.settings import Settings
from tests.api_server import serving
from tests.balancer import balanced
from tests.machine import free_port
from tests.search_stage import SearchProcess, Show, publish, wait_until_open, with_search
from tests.waiting import wait_until

CLIENTS = 4
PASSING = {"search_unavailable", "search_warming"}
"""What may be answered while a server goes or comes."""


class Counting(SearchProcess):
    """A search server that tells how many searches it has answered since it started."""

    def __init__(self, settings: Settings, folder: Path, shared: tuple[int, int] | None) -> None:
        self.metrics_port = free_port()
        super().__init__(settings, folder, shared, BACKLINE_METRICS_PORT=str(self.metrics_port))

    def answered(self) -> float:
        try:
            text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False).text
        except httpx.TransportError:
            return 0.0
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        name = "backline_search_seconds_count"
        return sum(one.value for one in samples if one.name == name and one.labels["outcome"] == "ok")


Pair = tuple[httpx.Client, Sequence[Counting]]


@pytest.fixture(params=["a balancer", "a port"])
def pair(request: pytest.FixtureRequest, db: Db, settings: Settings, tmp_path: Path) -> Iterator[Pair]:
    """An API whose search server's address is that of two: of a balancer before them, or of a port that they share."""
    is_balanced = request.param == "a balancer"
    own = Settings.model_validate({**settings.model_dump(), "index_dir": tmp_path / "indexes"})
    pointer = publish(db, own, [Show(id="1", title="Generation 1", theme="space", is_embedded=False).entry()])
    servers, port = [], free_port()
    for number, name in enumerate("ab", 1):
        (tmp_path / name).mkdir()
        servers.append(Counting(own, tmp_path / name, None if is_balanced else (port, number)))
    try:
        for server in servers:
            server.part.start()
        for server in servers:
            wait_until_open(server.url, pointer)
        with ExitStack() as stack:
            urls = [server.url for server in servers]
            url = stack.enter_context(balanced(urls)) if is_balanced else urls[0]
            yield stack.enter_context(serving(with_search(own, url))), servers
    finally:
        for server in servers:
            server.part.kill()


@contextmanager
def searched(client: httpx.Client) -> Iterator[set[str]]:
    """Search all the time inside the block; yield what was answered: `ok`, or the code of the problem."""
    stop, seen = Event(), set[str]()

    def search() -> None:
        while not stop.is_set():
            answer = client.post("/api/search", json={"query": "generation", "mode": "lexical"})
            seen.add("ok" if answer.is_success else answer.json()["code"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(search) for _ in range(CLIENTS)]
        try:
            yield seen
        finally:
            stop.set()
    for one in running:
        one.result()


def test_both_answer_and_one_that_was_killed_has_its_part_when_it_is_back(
    pair: Pair,
) -> None:
    client, (first, second) = pair
    with searched(client) as seen:
        wait_until(lambda: first.answered() and second.answered(), what="the part of each")

        second.part.kill()
        before = first.answered()
        wait_until(lambda: first.answered() > before + 20, what="what the other answers alone")
        second.part.start()

        wait_until(second.answered, what="its part")
    assert "ok" in seen
    assert seen - {"ok"} <= PASSING


@pytest.mark.parametrize("pair", ["a balancer"], indirect=True)
def test_it_says_to_everybody_whether_it_is_ready_and_nothing_else(
    pair: Pair,
) -> None:
    _, (server, _) = pair
    answer = httpx.get(f"{server.url}/ready", trust_env=False)
    assert (answer.status_code, answer.content) == (200, b"")

    server.part.kill()
    server.part.start()
    seen: list[int] = []

    def is_up() -> bool:
        try:
            seen.append(httpx.get(f"{server.url}/ready", trust_env=False).status_code)
        except httpx.TransportError:
            return False
        return seen[-1] == 200

    wait_until(is_up, what="the start")
    assert set(seen) <= {200, 503}
