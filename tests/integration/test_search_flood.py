"""Search when more is asked for than can be answered: refused early, fair between keys, nothing done for who has gone.

The search server stands still while the flood comes, so that how quick a machine is makes no difference.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.searching import ASKED_PER_THREAD
from shared.access import DEFAULT_OWNER
from shared.model import Db
from shared.settings import Settings
from tests.api_server import problem_of, serving
from tests.holders import Holder, client_of, give_key
from tests.machine import free_port
from tests.search_stage import SearchProcess, Show, publish, state_of, wait_until_open, with_search
from tests.waiting import wait_until

WAITING = 4
PLACES = ASKED_PER_THREAD + WAITING
COMING = PLACES + 10
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Flood:
    """An API before a search server that has stopped in the middle of what it did."""

    client: httpx.Client
    url: str
    server: SearchProcess
    metrics_port: int
    pool: ThreadPoolExecutor

    def come(self, client: httpx.Client, count: int) -> Sequence[Future[httpx.Response]]:
        return [self.pool.submit(client.post, "/api/search", json=body(n)) for n in range(count)]

    def go_on(self) -> None:
        os.kill(self.server.part.pid, signal.SIGCONT)

    def standing(self) -> tuple[float, float]:
        """Return how many searches the server is asked for, and how many wait."""
        found = numbers(self.client.get("/metrics").text)
        return found["backline_search_asked"], found["backline_search_queued"]


def body(number: int) -> dict[str, object]:
    return {"query": f"generation {number}", "mode": "lexical"}


def numbers(text: str) -> dict[str, float]:
    """Return the numbers without labels, and those of searches by how they ended."""
    families = text_string_to_metric_families(text)
    return {one.labels.get("outcome", one.name): one.value for family in families for one in family.samples}


def done(some: Sequence[Future[httpx.Response]]) -> list[httpx.Response]:
    return [one.result() for one in some if one.done()]


@pytest.fixture
def flood(db: Db, settings: Settings, tmp_path: Path) -> Iterator[Flood]:
    few = {
        "index_dir": tmp_path / "indexes",
        "search_threads": 1,
        "search_waiting_max": WAITING,
        "search_timeout_seconds": PATIENCE_SECONDS,
    }
    own = Settings.model_validate({**settings.model_dump(), **few})
    shows = [Show(id=str(n), title=f"Generation {n}", theme="space", is_embedded=False).entry() for n in range(30)]
    pointer = publish(db, own, shows)
    port = free_port()
    server = SearchProcess(own, tmp_path, BACKLINE_SEARCH_THREADS="1", BACKLINE_METRICS_PORT=str(port))
    server.part.start()
    try:
        wait_until_open(server.url, pointer)
        with serving(with_search(own, server.url)) as client, ThreadPoolExecutor(COMING + 1) as pool:
            client.timeout = httpx.Timeout(PATIENCE_SECONDS)
            os.kill(server.part.pid, signal.SIGSTOP)
            yield Flood(client=client, url=str(client.base_url), server=server, metrics_port=port, pool=pool)
            server.part.kill()  # whoever still waits is told so
    finally:
        server.part.kill()


def test_what_can_not_be_answered_soon_is_refused_at_once_and_all_else_goes_on(flood: Flood) -> None:
    # When more searches come than have a place, and none is answered
    coming = flood.come(flood.client, COMING)

    # Then those without a place are refused at once, and told when to come again
    wait_until(lambda: len(done(coming)) == COMING - PLACES, what="the refusals")
    for answer in done(coming):
        problem_of(answer, 503, "search_overloaded")
        assert int(answer.headers["retry-after"]) > 0
    assert flood.standing() == (ASKED_PER_THREAD, WAITING)
    assert numbers(flood.client.get("/metrics").text)["backline_search_overloaded_total"] == COMING - PLACES

    # And whoever wants something else has it
    assert flood.client.get("/health/live").is_success
    assert flood.client.get("/api/kinds").is_success
    job = {"userId": "ada", "paths": ["/music/albums"]}
    assert flood.client.post("/api/jobs/audio_features", json=job).status_code == 202

    # And when the server goes on, all that had a place are answered
    flood.go_on()
    assert [one.result().status_code for one in coming].count(200) == PLACES
    assert flood.standing() == (0, 0)


def test_one_key_that_sends_very_many_does_not_shut_out_another(db: Db, flood: Flood) -> None:
    # Given a key whose searches have every place
    coming = flood.come(flood.client, COMING)
    wait_until(lambda: len(done(coming)) == COMING - PLACES, what="the refusals")

    with other_key(db, flood) as client:
        # When another key of the same owner searches once
        (other,) = flood.come(client, 1)

        # Then the first one's last makes room for it
        wait_until(lambda: len(done(coming)) == COMING - PLACES + 1, what="the room")
        assert not other.done()
        flood.go_on()
        assert other.result().is_success


@contextmanager
def other_key(db: Db, flood: Flood) -> Iterator[httpx.Client]:
    holder: Holder = give_key(db, DEFAULT_OWNER)
    with client_of(holder, flood.url) as client:
        client.timeout = httpx.Timeout(PATIENCE_SECONDS)
        yield client


def test_nothing_is_kept_for_those_who_have_gone(flood: Flood) -> None:
    # Given clients whose searches have every place
    with ExitStack() as clients:
        for number in range(PLACES):
            clients.enter_context(asking(flood.client, "/api/search", body(number)))
        wait_until(lambda: flood.standing() == (ASKED_PER_THREAD, WAITING), what="the flood")

    # When they have gone, then every place is free
    wait_until(lambda: flood.standing() == (0, 0), what="the end of the flood")
    (coming,) = flood.come(flood.client, 1)
    flood.go_on()
    assert coming.result().is_success
    wait_until(lambda: (state_of(flood.server.url) or {}).get("atWork") == 0, what="the rest")


def test_the_search_server_drops_what_waits_for_those_who_have_gone(flood: Flood) -> None:
    asked = 60
    with httpx.Client(base_url=flood.server.url, headers=flood.server.headers) as client, ExitStack() as clients:
        for number in range(asked):
            wanted = {"owner": DEFAULT_OWNER, "search": {"index": "catalogue", "query": f"the {number} planets"}}
            clients.enter_context(asking(client, "/search", wanted))
    flood.go_on()

    def ends() -> dict[str, float]:
        text = httpx.get(f"http://127.0.0.1:{flood.metrics_port}/metrics", trust_env=False).text
        families = text_string_to_metric_families(text)
        counts = [one for family in families for one in family.samples if one.name == "backline_search_seconds_count"]
        return {one.labels["outcome"]: one.value for one in counts}

    wait_until(lambda: sum(ends().values()) == asked, what="the end of all searches")
    assert ends()["cut_off"] > 0


@contextmanager
def asking(client: httpx.Client, path: str, content: object) -> Iterator[None]:
    """Send a request, and hang up at the end of the block."""
    data = json.dumps(content)
    address = (client.base_url.host, client.base_url.port or 80)
    head = (
        f"POST {path} HTTP/1.1",
        f"Host: {address[0]}",
        f"Authorization: {client.headers['Authorization']}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    )
    with socket.create_connection(address) as connection:
        connection.sendall("\r\n".join((*head, "", data)).encode())
        yield
