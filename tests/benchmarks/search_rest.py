"""Measure search through the front door: the whole REST call, the engine inside it, and swings of the index under load.

`python -m tests.benchmarks.search_rest` takes two minutes; with --million, a million entries are searched, too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx
from rich.console import Console

from deploy.ports import LOOPBACK
from shared.access import DEFAULT_OWNER, Scope
from shared.clock import now
from shared.model import Json
from shared.store import indexes
from shared.store.indexes import IndexPointer, Published
from tests.benchmarks.figures import Figure, machine, table_of
from tests.benchmarks.search import LITTLE, MILLION, USUAL, Size, apart, build, middle_and_high, queries
from tests.benchmarks.stage import Stage, staged
from tests.holders import give_key
from tests.machine import Part, free_port
from tests.waiting import wait_until
from workers.vectors.embedders.minilm import MiniLm
from workers.vectors.embedding import Floats
from workers.vectors.shelf import Shelf

TOKEN = "benchmark"
SWINGS = 20
CLIENTS = 2  # that search while the index is swung
SLOW_SECONDS = 0.2  # a query that takes longer while the index is swung counts as held up
SETTLED_SECONDS_MAX = 60.0
BARE_BODY: Json = {"userId": "ada", "paths": ["/music/albums", "/music/singles"]}
FILTERS: Mapping[str, Json] = {
    "half": {"year": {"min": 1993}},
    "a tenth": {"year": {"min": 2000, "max": 2006}},
    "few": {"tags": {"all": ["tag3", "tag7"]}, "types": ["Movie", "OVA"]},
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one request took, in milliseconds."""

    whole: float
    engine: float
    embedding: float


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Who answers."""

    api: int
    bare: int
    search: Part
    search_port: int
    key: str


def measure(size: Size, *, swings: int) -> list[Figure]:
    """Return all figures of a collection of this size."""
    with staged() as stage:
        folder = indexes.folder(stage.folder / "indexes", DEFAULT_OWNER, "catalogue")
        first, _ = apart(build, size, folder, None, size.entries, 1)
        second, _ = apart(build, size, folder, first, size.entries // 100, 2)
        _swing(stage, first, size.entries)
        with Shelf(folder).open(first) as snapshot:
            asked = list(queries(size, snapshot))
        kinds = _by_meaning(asked) if size.dimensions == MiniLm.dimensions else _by_vector(asked)
        kinds["like an item"] = [{"itemId": f"entry-{n * 97 % size.entries:07d}"} for n in range(len(asked))]
        with _opened(stage) as doors:
            _wait_until_open(doors, first)
            figures = [*_calls(doors, kinds)]
            figures += _swings(stage, doors, kinds["both"], (second, first), swings)
            figures += _reader(doors)
    return [replace(one, name=f"{size.name}: {one.name}") for one in figures]


def _by_meaning(asked: Sequence[tuple[Floats, str]]) -> dict[str, list[Json]]:
    texts = [text for _, text in asked]
    return {
        "words": [{"query": text, "mode": "lexical"} for text in texts],
        "meaning": [{"query": text, "mode": "semantic"} for text in texts],
        "both": [{"query": f"{text} again"} for text in texts],
        **{
            f"both, filtered, {name}": [{"query": f"{text} {name}", "filters": one} for text in texts]
            for name, one in FILTERS.items()
        },
    }


def _by_vector(asked: Sequence[tuple[Floats, str]]) -> dict[str, list[Json]]:
    """Ask with vectors: the text model's are of other dimensions."""
    both: list[Json] = [
        {"query": text, "mode": "lexical", "vector": [round(one, 6) for one in vector.tolist()]}
        for vector, text in asked
    ]
    return {
        "words": [{"query": one["query"], "mode": "lexical"} for one in both],
        "a vector": [{"vector": one["vector"]} for one in both],
        "both": both,
        **{f"both, filtered, {name}": [{**body, "filters": one} for body in both] for name, one in FILTERS.items()},
    }


def _calls(doors: Doors, kinds: Mapping[str, Sequence[Json]]) -> Iterator[Figure]:
    bare = [one.whole for one in _ask(doors.bare, "/bare", [BARE_BODY] * len(kinds["words"]), doors.key)]
    yield from _percentiles("bare route", bare)
    for name, bodies in kinds.items():
        taken = _ask(doors.api, "/api/search", bodies, doors.key)
        yield from _percentiles(f"REST, {name}", [one.whole for one in taken], at_most=30)
        yield from _percentiles(f"engine, {name}", [one.engine for one in taken], at_most=10)
        if name == "meaning":
            yield from _percentiles("embedding a query", [one.embedding for one in taken])


def _percentiles(name: str, values: Sequence[float], *, at_most: float | None = None) -> Iterator[Figure]:
    middle, high = middle_and_high(values)
    yield Figure(name=f"{name}: p50", value=middle, unit="ms")
    yield Figure(name=f"{name}: p95", value=high, unit="ms", at_most=at_most)


def _swings(stage: Stage, doors: Doors, bodies: Sequence[Json], names: Sequence[str], count: int) -> Iterator[Figure]:
    """Swing between two snapshots while clients search; each is opened and checked anew."""
    stop = Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(_ask_until, stop, doors, [*bodies[place:], *bodies[:place]]) for place in range(CLIENTS)]
        try:
            for turn in range(count):
                name = names[turn % len(names)]
                _swing(stage, name, 0)
                _wait_until_open(doors, name)
        finally:
            stop.set()
        answers = [one for client in clients for one in client.result()]
    taken = [seconds for _, seconds in answers]
    held_up = sum(seconds > SLOW_SECONDS for seconds in taken)
    note = f"{len(answers)} queries of {CLIENTS} clients during {count} swings"
    failed = sum(status != http.HTTPStatus.OK for status, _ in answers)
    yield Figure(name="swings: failed queries", value=failed, unit="", at_most=0, note=note)
    yield Figure(name=f"swings: queries above {SLOW_SECONDS * 1000:.0f} ms", value=held_up, unit="", at_most=0)
    yield from _percentiles("swings: REST", [seconds * 1000 for seconds in taken])
    yield Figure(name="swings: slowest query", value=max(taken) * 1000, unit="ms")


def _reader(doors: Doors) -> Iterator[Figure]:
    yield Figure(name="search server: resident", value=_state(doors)["residentMb"], unit="MB")


def _ask(port: int, path: str, bodies: Sequence[Json], key: str) -> list[Asked]:
    """Send these requests one after the other over one connection, the first twice."""
    connection = http.client.HTTPConnection(LOOPBACK, port)
    taken: list[Asked] = []
    for body in (bodies[0], *bodies):
        status, content, seconds = _send(connection, path, json.dumps(body), key)
        assert status < http.HTTPStatus.BAD_REQUEST, content
        answer: Json = json.loads(content)
        embedding = answer.get("embeddingMs", 0.0)
        engine = answer.get("tookMs", 0.0) - embedding
        taken.append(Asked(whole=seconds * 1000, engine=engine, embedding=embedding))
    connection.close()
    return taken[1:]


def _ask_until(stop: Event, doors: Doors, bodies: Sequence[Json]) -> list[tuple[int, float]]:
    """Search again and again; return the status and the seconds of each answer."""
    connection = http.client.HTTPConnection(LOOPBACK, doors.api)
    taken: list[tuple[int, float]] = []
    while not stop.is_set():
        body = bodies[len(taken) % len(bodies)]
        status, _, seconds = _send(connection, "/api/search", json.dumps(body), doors.key)
        taken.append((status, seconds))
    connection.close()
    return taken


def _send(connection: http.client.HTTPConnection, path: str, body: str, key: str) -> tuple[int, bytes, float]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    started = time.perf_counter()
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, content, time.perf_counter() - started


def _swing(stage: Stage, name: str, entries: int) -> None:
    moment = now()
    published = Published(
        snapshot=name, entries=entries, bytes=0, embedder=MiniLm.id, watermark=moment, built_at=moment
    )
    former = indexes.find(stage.db, DEFAULT_OWNER, "catalogue")
    following = IndexPointer.following(former, published, owner=DEFAULT_OWNER, name="catalogue")
    assert indexes.swing(stage.db, following)


def _state(doors: Doors) -> Json:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    state: Json = httpx.get(f"http://{LOOPBACK}:{doors.search_port}/state", headers=headers, trust_env=False).json()
    return state


def _wait_until_open(doors: Doors, name: str) -> None:
    def is_open() -> bool:
        try:
            state = _state(doors)
        except httpx.TransportError:
            return False
        return bool(state["isReady"]) and name in [one["snapshot"] for one in state["indexes"]]

    wait_until(is_open, seconds=SETTLED_SECONDS_MAX, what=f"the opening of {name}")


@contextmanager
def _opened(stage: Stage) -> Iterator[Doors]:
    """Run the API, the search server and the bare route, a process each, as the stack would."""
    key = give_key(stage.db, DEFAULT_OWNER, (Scope.SEARCH,)).key
    api, bare, search = free_port(), free_port(), free_port()
    environment = {
        **stage.machine.heavy.environment,
        "BACKLINE_INDEX_DIR": str(stage.folder / "indexes"),
        "BACKLINE_SEARCH_URL": f"http://{LOOPBACK}:{search}",
        "BACKLINE_SEARCH_TOKEN": TOKEN,
        "BACKLINE_RATE_REQUESTS": "10000000 per minute",
        "OPENBLAS_NUM_THREADS": "1",
    }
    uvicorn = ["uvicorn", "tests.benchmarks.bare_route:create_app", "--factory", "--log-level", "warning"]
    parts = {
        name: _part(stage.folder, name, [*command, "--port", str(port)], environment)
        for name, command, port in (
            ("search", ["workers.search"], search),
            ("api", ["api.server"], api),
            ("bare", uvicorn, bare),
        )
    }
    with ExitStack() as cleanup:
        for part in parts.values():
            part.start()
            cleanup.callback(part.terminate)
        for port in (api, bare):
            wait_until(lambda port=port: _listens(port), what="the start")  # type: ignore[misc]
        yield Doors(api=api, bare=bare, search=parts["search"], search_port=search, key=key)


def _part(folder: Path, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Part:
    return Part(name, [sys.executable, "-m", *command], folder, environment)


def _listens(port: int) -> bool:
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}/", trust_env=False).status_code > 0
    except httpx.TransportError:
        return False


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.search_rest", description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that it works: too small for the goals to mean much")
    parser.add_argument("--million", action="store_true", help="search a million entries, too (ten minutes)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args(given)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    where: dict[str, Any] = machine()
    sizes = [LITTLE if arguments.short else USUAL, *([MILLION] if arguments.million else [])]
    figures = [one for size in sizes for one in measure(size, swings=2 if arguments.short else SWINGS)]
    if arguments.json:
        sys.stdout.write(json.dumps({"machine": where, "figures": [one.to_json() for one in figures]}, indent=2) + "\n")
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(table_of(figures))
    for figure in figures:
        if figure.note:
            console.print(f"  {figure.name}: {figure.note}", markup=False)


if __name__ == "__main__":
    main()
