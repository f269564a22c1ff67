"""The search server as a process: warming up, swapped under load, killed, damaged, flooded, without MongoDB."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from shared.access import DEFAULT_OWNER
from shared.errors import SearchOverloaded
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import indexes
from shared.store.database import connect
from shared.store.indexes import IndexPointer
from tests.api_server import problem_of, serving
from tests.machine import Part, Servers
from tests.search_stage import (
    TOKEN,
    SearchProcess,
    Show,
    answering,
    publish,
    serving_search,
    state_of,
    wait_until_open,
    with_search,
)
from tests.waiting import wait_until
from workers.vectors.manifest import read_manifest, write_manifest

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


def shows(generation: int, count: int = 30) -> list[Any]:
    titles = (f"Generation {generation} {n}" for n in range(count))
    return [Show(id=t, title=t, theme="space", is_embedded=False).entry() for t in titles]


@pytest.fixture
def stage(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a folder of indexes of their own."""
    return Settings.model_validate({**settings.model_dump(), "index_dir": tmp_path / "indexes"})


@pytest.fixture
def process(stage: Settings, tmp_path: Path) -> Iterator[SearchProcess]:
    """A search server that was not started yet."""
    server = SearchProcess(stage, tmp_path)
    yield server
    server.part.kill()


def search(client: httpx.Client, query: str = "generation") -> httpx.Response:
    return client.post("/api/search", json={"query": query, "mode": "lexical", "limit": 5})


def folder_of(stage: Settings, pointer: IndexPointer) -> Path:
    return indexes.folder(stage.index_dir, pointer.owner, pointer.name) / pointer.snapshot


def test_without_a_search_server_everything_else_works(db: Db, settings: Settings) -> None:
    with serving(settings) as client:
        document = problem_of(search(client), 503, "search_unavailable")
        assert "workers.search" in document["advice"]
        assert client.get("/api/status").json()["parts"]["search"] is None
        assert client.get("/api/indexes").json() == {"indexes": []}
        assert "search" not in client.get("/health/ready").json()["down"]


def test_one_that_is_down_is_named_and_found_again(db: Db, stage: Settings, process: SearchProcess) -> None:
    pointer = publish(db, stage, shows(1))
    with serving(with_search(stage, process.url)) as client:
        answer = search(client)
        problem_of(answer, 503, "search_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        ready = client.get("/health/ready")
        assert ready.status_code == 503
        assert "search" in ready.json()["down"]
        assert client.get("/api/kinds").is_success

        process.part.start()
        seen = wait_until_answered(client, problems := set[str]())
        assert problems <= {"search_unavailable", "search_warming"}
        assert seen.json()["index"]["snapshot"] == pointer.snapshot
        assert "search" not in client.get("/health/ready").json()["down"]

        process.part.kill()
        problem_of(search(client), 503, "search_unavailable")
        process.part.start()
        wait_until_answered(client, problems)


def wait_until_answered(client: httpx.Client, problems: set[str]) -> httpx.Response:
    def answer() -> httpx.Response | None:
        found = search(client)
        if not found.is_success:
            problems.add(found.json()["code"])
            return None
        return found

    found = wait_until(answer, what="an answer")
    assert found is not None
    return found


def test_it_is_ready_only_when_model_and_indexes_are(db: Db, stage: Settings, process: SearchProcess) -> None:
    publish(db, stage, shows(1))
    process.part.start()
    states: list[Json] = []

    def is_ready() -> bool:
        state = state_of(process.url)
        if state is not None:
            states.append(state)
        return bool(state and state["isReady"])

    wait_until(is_ready, what="the start")
    assert all(state["waitsFor"] for state in states[:-1])
    assert states[-1]["waitsFor"] is None
    assert [one["id"] for one in states[-1]["indexes"]] == ["local.catalogue"]
    first = httpx.post(f"{process.url}/search", json=wanted("space", mode="semantic"), headers=HEADERS).json()
    assert first["tookMs"] < 500  # nothing is loaded for it


def wanted(query: str, *, owner: str = DEFAULT_OWNER, **more: Any) -> Json:
    return {"owner": owner, "search": {"query": query, "index": "catalogue", **more}}


def test_strangers_are_not_answered(stage: Settings, db: Db) -> None:
    with serving_search(stage) as told:
        for headers in ({}, {"Authorization": "Bearer guess"}, {"Authorization": f"Basic {TOKEN}"}):
            for method, path in (("POST", "/search"), ("POST", "/playlists"), ("GET", "/state")):
                answer = httpx.request(method, f"{told.search_url}{path}", json=wanted("x"), headers=headers)
                assert answer.status_code == 401
        wrong = Settings.model_validate({**told.model_dump(), "search_token": "another"})
        with serving(wrong) as client:
            assert "TOKEN" in problem_of(search(client), 503, "search_unavailable")["detail"]


def test_it_listens_to_others_with_a_token_alone(stage: Settings, tmp_path: Path) -> None:
    server = SearchProcess(stage, tmp_path)
    command = [*server.part.command, "--host", "0.0.0.0"]
    part = Part("open", command, tmp_path, {**server.part.environment, "BACKLINE_SEARCH_TOKEN": ""})
    del part.environment["BACKLINE_SEARCH_TOKEN"]
    part.start()
    assert part.process is not None
    assert part.process.wait(30) == 78
    assert "BACKLINE_SEARCH_TOKEN" in part.log.read_text()


def test_a_swing_reaches_searches_within_seconds_and_fails_none(db: Db, stage: Settings) -> None:
    publish(db, stage, shows(0))
    with serving_search(stage) as told, serving(told) as client, ThreadPoolExecutor(3) as pool:
        stop = Event()
        load = [pool.submit(searched_until, stop, client) for _ in range(3)]
        try:
            for generation in range(1, 6):
                pointer = publish(db, stage, shows(generation))
                wait_until_open(told.search_url or "", pointer)
        finally:
            stop.set()
        answers = [one for each in load for one in each.result()]
    assert {status for status, _, _ in answers} == {200}
    assert {generation for _, generation, _ in answers} == set(range(6))
    assert max(seconds for _, _, seconds in answers) < 2.0


def searched_until(stop: Event, client: httpx.Client) -> list[tuple[int, int, float]]:
    """Search again and again; return status, generation and seconds of each answer."""
    found = []
    while not stop.is_set():
        started = time.perf_counter()
        answer = search(client)
        generations = {int(hit["title"].split()[1]) for hit in answer.json().get("hits", ())}
        assert len(generations) == 1, answer.text  # never two generations in one answer
        found.append((answer.status_code, generations.pop(), time.perf_counter() - started))
    return found


def test_a_page_goes_on_in_its_snapshot_until_another_has_come(db: Db, stage: Settings) -> None:
    publish(db, stage, shows(0))
    with serving_search(stage) as told, serving(told) as client:
        cursor = search(client).json()["nextCursor"]
        body = {"query": "generation", "mode": "lexical", "limit": 5, "cursor": cursor}
        wait_until_open(told.search_url or "", publish(db, stage, shows(1)))
        following = client.post("/api/search", json=body).json()
        assert {hit["title"].split()[1] for hit in following["hits"]} == {"0"}
        assert {hit["title"].split()[1] for hit in search(client).json()["hits"]} == {"1"}
        wait_until_open(told.search_url or "", publish(db, stage, shows(2)))
        problem_of(client.post("/api/search", json=body), 400, "invalid_cursor")


def test_rolling_back_is_seen_by_searches(db: Db, stage: Settings) -> None:
    pointers = [publish(db, stage, shows(generation)) for generation in range(2)]
    with serving_search(stage) as told, serving(told) as client:
        answer = client.post("/api/indexes/catalogue/rollback")
        assert answer.json()["snapshot"] == pointers[0].snapshot
        assert answer.json()["previous"] == pointers[1].snapshot

        def generation() -> bool:
            return {hit["title"].split()[1] for hit in search(client).json()["hits"]} == {"0"}

        wait_until(generation, what="the way back")
        problem_of(client.post("/api/indexes/albums/rollback"), 404, "unknown_index")
        problem_of(client.post("/api/indexes/tracks/rollback"), 409, "index_missing")


@pytest.mark.parametrize("moment", range(3))
def test_killed_during_a_swap_it_starts_again_on_whole_indexes(
    db: Db, stage: Settings, process: SearchProcess, moment: int
) -> None:
    publish(db, stage, shows(0))
    process.part.start()
    with serving(with_search(stage, process.url)) as client:
        wait_until_answered(client, set())
        pointer = publish(db, stage, shows(1, count=2_000))
        # The follower looks each second, and takes a part of one to check and open: somewhere in there.
        wait_until(lambda: is_past(pointer, moment * 0.4), what="the moment")
        process.part.kill()
        process.part.start()
        answer = wait_until_answered(client, set()).json()
        assert {hit["title"].split()[1] for hit in answer["hits"]} == {"1"}
        assert answer["index"]["isCurrent"]


def is_past(pointer: IndexPointer, seconds: float) -> bool:
    return time.time() > pointer.built_at.timestamp() + seconds


def test_a_damaged_snapshot_is_never_opened(db: Db, stage: Settings, process: SearchProcess) -> None:
    first = publish(db, stage, shows(0))
    second = publish(db, stage, shows(1))
    damage(folder_of(stage, second))
    process.part.start()
    with serving(with_search(stage, process.url)) as client:
        answer = wait_until_answered(client, set()).json()
        assert (answer["index"]["snapshot"], answer["index"]["isCurrent"]) == (first.snapshot, False)
        state = state_of(process.url)
        assert state is not None
        assert "is not the file that was published" in state["indexes"][0]["trouble"]
        # The next whole one is taken as ever.
        third = publish(db, stage, shows(2))
        wait_until_open(process.url, third)
        assert search(client).json()["index"]["isCurrent"]


@pytest.mark.parametrize("way", ["damaged", "of another form"])
def test_an_index_without_a_whole_snapshot_says_so_and_the_others_work(
    db: Db, stage: Settings, process: SearchProcess, way: str
) -> None:
    pointer = publish(db, stage, shows(0))
    if way == "damaged":
        damage(folder_of(stage, pointer))
    else:
        write_otherwise(db, stage, pointer)
    publish(db, stage, [], name="tracks")
    process.part.start()
    with serving(with_search(stage, process.url)) as client:
        wait_until(lambda: bool((state_of(process.url) or {}).get("isReady")), what="the start")
        assert "rebuild" in problem_of(search(client), 503, "index_damaged")["advice"]
        assert client.post("/api/search", json={"query": "x", "index": "tracks"}).is_success


def damage(folder: Path) -> None:
    path = max(folder.iterdir(), key=lambda one: one.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


GAINS_FILE = "words.gains.bin"


def write_otherwise(db: Db, stage: Settings, pointer: IndexPointer) -> None:
    """Have an index consist of files that are whole, but not what its manifest says."""
    folder = folder_of(stage, pointer)
    manifest = read_manifest(folder)
    arrays = {**manifest.arrays, GAINS_FILE: replace(manifest.arrays[GAINS_FILE], shape=(2,))}
    name = write_manifest(folder, replace(manifest, arrays=arrays))
    folder.rename(folder.with_name(name))
    db[indexes.COLLECTION].update_one({"_id": pointer.id}, {"$set": {"snapshot": name}})


OWNERS = ("ada", "bob", "cleo", "dora")


def asked_for(url: str, owner: str) -> httpx.Response:
    """Search an owner's catalogue at the private door, as the API does."""
    body = {"owner": owner, "search": {"query": "generation", "mode": "lexical", "limit": 5}}
    return httpx.post(f"{url}/search", json=body, headers=HEADERS, timeout=20, trust_env=False)


def generations_in(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {hit["title"].split()[1] for hit in answer.json()["hits"]}


@pytest.fixture
def narrow(db: Db, stage: Settings) -> Iterator[str]:
    """A search server that keeps two indexes open, of four."""
    for number, owner in enumerate(OWNERS):
        publish(db, stage, shows(number), owner=owner)
    few = Settings.model_validate({**stage.model_dump(), "search_open_max": 2})
    with serving_search(few) as told:
        yield told.search_url or ""


def test_more_indexes_than_may_be_open_are_searched_all_the_same(narrow: str) -> None:
    for _ in range(2):
        for number, owner in enumerate(OWNERS):
            assert generations_in(asked_for(narrow, owner)) == {str(number)}
            state = state_of(narrow)
            assert state is not None
            assert f"{owner}.catalogue" in {one["id"] for one in state["indexes"]}
            assert (len(state["indexes"]), state["resting"], state["troubles"]) == (2, 2, {})


def test_owners_who_search_at_the_same_time_get_their_own_however_few_are_open(narrow: str) -> None:
    with ThreadPoolExecutor(len(OWNERS)) as pool:
        answers = [pool.submit(asked_for, narrow, owner) for _ in range(10) for owner in OWNERS]
        found = [one.result() for one in answers]

    # A search may find its index put to rest once more by others: then it is told to come again, and nothing else.
    for number, answer in enumerate(found):
        if answer.status_code == 200:
            assert generations_in(answer) == {str(number % len(OWNERS))}
        else:
            assert answer.json()["code"] == "search_warming"
    assert sum(answer.status_code == 200 for answer in found) > len(found) / 2


def test_an_index_that_rests_is_opened_as_it_was_published_last(db: Db, stage: Settings, narrow: str) -> None:
    for owner in OWNERS[:2]:
        asked_for(narrow, owner)

    publish(db, stage, shows(7), owner=OWNERS[3])

    assert generations_in(asked_for(narrow, OWNERS[3])) == {"7"}


def test_an_index_that_rests_and_is_damaged_says_so_and_is_taken_when_it_is_whole(
    db: Db, stage: Settings, narrow: str
) -> None:
    for owner in OWNERS[:2]:
        asked_for(narrow, owner)
    damage(folder_of(stage, publish(db, stage, shows(8), owner=OWNERS[2])))
    former = indexes.find(db, OWNERS[2], "catalogue")
    assert former is not None
    assert former.before is not None
    damage(indexes.folder(stage.index_dir, OWNERS[2], "catalogue") / former.before.snapshot)

    assert asked_for(narrow, OWNERS[2]).json()["code"] == "index_damaged"
    publish(db, stage, shows(9), owner=OWNERS[2])
    wait_until(lambda: asked_for(narrow, OWNERS[2]).status_code == 200, what="the whole one")
    assert generations_in(asked_for(narrow, OWNERS[2])) == {"9"}


def test_searches_go_on_while_mongodb_is_away(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "servers").mkdir()
    servers = Servers(tmp_path / "servers")
    servers.start()
    try:
        own = Settings.model_validate(
            {**settings.model_dump(), "mongodb_uri": servers.mongodb_uri, "index_dir": tmp_path / "indexes"}
        )
        db = connect(own)
        publish(db, own, shows(0))
        with serving_search(own) as told:
            servers.mongo.kill()
            url = told.search_url or ""
            wait_until(lambda: not (state_of(url) or {}).get("isUpToDate", True), what="the notice of the outage")
            answer = httpx.post(f"{url}/search", json=wanted("generation"), headers=HEADERS)
            assert answer.json()["hits"]
            servers.mongo.start()
            wait_until(lambda: (state_of(url) or {}).get("isUpToDate"), what="the end of the outage")
        db.client.close()
    finally:
        servers.stop()


def test_of_too_many_searches_some_are_refused_and_none_is_lost(db: Db, stage: Settings) -> None:
    publish(db, stage, shows(0, count=3_000))
    few = Settings.model_validate({**stage.model_dump(), "search_threads": 1, "search_waiting_max": 1})
    with serving_search(few) as told, serving(told) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: hard_search(client, n), range(120)))
    refused = [answer for answer in answers if not answer.is_success]
    assert 0 < len(refused) < len(answers)
    for answer in refused:
        problem_of(answer, 503, SearchOverloaded.code)
        assert int(answer.headers["retry-after"]) > 0


def hard_search(client: httpx.Client, number: int) -> httpx.Response:
    return client.post("/api/search", json={"query": f"generation of the {number} planets", "limit": 100})


def test_a_search_that_takes_too_long_is_given_up(db: Db, stage: Settings) -> None:
    publish(db, stage, shows(0, count=3_000))
    hasty = Settings.model_validate({**stage.model_dump(), "search_timeout_seconds": 0.0001})
    with serving_search(hasty) as told, serving(told) as client:
        problem_of(hard_search(client, 1), 503, "search_timed_out")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"garbage\r\n\r\n"])
def test_what_is_no_search_server_is_not_believed(db: Db, stage: Settings, answer: bytes) -> None:
    with answering(answer) as url, serving(with_search(stage, url)) as client:
        assert client.get("/health/ready").json()["parts"]["search"]["ok"] is False
