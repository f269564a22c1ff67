"""Whatever a server does wrong is said in one of a few ways, and a build that fails leaves nothing that can be seen."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.endpoint import Answer, Asked, Endpoint, serving
from tests.machine import ROOT
from workers.vectors.engine import store_of
from workers.vectors.errors import (
    EngineRefused,
    EngineUnavailable,
    SnapshotMissing,
    SnapshotOutdated,
    SnapshotUnsound,
    VectorsError,
)
from workers.vectors.qdrant import build as building
from workers.vectors.qdrant import store as stores
from workers.vectors.qdrant.asking import client_of
from workers.vectors.qdrant.claim import CLAIMS
from workers.vectors.qdrant.index import FORM
from workers.vectors.query import Query
from workers.vectors.shelf import Shelf

from .conftest import DIMENSIONS, SCHEMA, made_entries

VERSION = "acme.catalogue.20260102T030405000006-0123abcd"
POINTS = f"/collections/{VERSION}.points"
METADATA = {
    "form": FORM,
    "spreads": [],
    "schema": SCHEMA.to_json(),
    "provenance": {},
    "entries": 5,
    "bytes": 5,
    "scalers": {},
    "recalls": {},
}


def _ok(result: Any) -> Answer:
    return Answer(body={"result": result, "status": "ok", "time": 0.001})


def _collection(metadata: Mapping[str, Any] | None, status: str = "green") -> Answer:
    dense = {"size": DIMENSIONS, "distance": "Cosine"}
    config = {
        "params": {"vectors": {"text": dense}, "shard_number": 1, "replication_factor": 1},
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        },
        "metadata": metadata,
    }
    state = {"status": status, "optimizer_status": "ok", "segments_count": 1}
    return _ok({**state, "config": config, "payload_schema": {}})


def _aliases() -> Answer:
    return _ok({"aliases": [{"alias_name": VERSION, "collection_name": f"{VERSION}.points"}]})


def _is_claim(asked: Asked) -> bool:
    return asked.path.startswith(f"/collections/{CLAIMS}")


def _claims(asked: Asked) -> Answer:
    """Answer as a server on which nobody builds."""
    if asked.path.endswith("/exists"):
        return _ok({"exists": True})
    if asked.path.endswith("/scroll"):
        return _ok({"points": [], "next_page_offset": None})
    return _ok({"operation_id": 1, "status": "completed"})


def _sound(asked: Asked) -> Answer:
    """Answer as a server on which one version of five entries is published, and every write goes well."""
    if _is_claim(asked):
        return _claims(asked)
    if asked.path.startswith("/aliases"):
        return _aliases()
    if asked.method == "GET" and asked.path == "/collections":
        return _ok({"collections": [{"name": f"{VERSION}.points"}]})
    if asked.method == "GET":
        return _collection(METADATA)
    if asked.path.endswith("/points/count"):
        return _ok({"count": 5})
    if "/points" in asked.path or asked.path.endswith("/index?wait=true"):
        return _ok({"operation_id": 1, "status": "completed"})
    return _ok(True)


@contextmanager
def _server(
    answer: Callable[[Asked], Answer | None], folder: Path, key: str | None = None
) -> Iterator[tuple[Endpoint, stores.QdrantStore]]:
    with serving(answer) as endpoint:
        store = store_of(folder, "acme.catalogue", url=endpoint.url, key=key)
        assert isinstance(store, stores.QdrantStore)
        try:
            yield endpoint, store
        finally:
            store._client.close()
            client_of.cache_clear()


FAILURES = [
    pytest.param(Answer(status=500, body=b"panic"), EngineUnavailable, "answered 500 panic", id="500"),
    pytest.param(Answer(status=503), EngineUnavailable, "answered 503", id="503"),
    pytest.param(None, EngineUnavailable, "disconnected", id="hangs up"),
    pytest.param(Answer(status=401, body=b"no key"), EngineRefused, "answered 401 no key", id="401"),
    pytest.param(Answer(status=403), EngineRefused, "answered 403", id="403"),
    pytest.param(Answer(status=400, body=b"what?"), EngineRefused, "answered 400 what", id="400"),
    pytest.param(Answer(body=b"<html>"), EngineRefused, "no answer of a Qdrant server", id="no JSON"),
    pytest.param(Answer(body={"result": 7}), EngineRefused, "no answer of a Qdrant server", id="another JSON"),
    pytest.param(Answer(status=404, body=b"not found"), SnapshotMissing, "answered 404", id="404"),
]


@pytest.mark.parametrize(("answer", "error", "says"), FAILURES)
def test_opening_and_searching_say_what_the_server_did(
    answer: Answer | None, error: type[VectorsError], says: str, tmp_path: Path
) -> None:
    query = Query(near={"text": np.ones(DIMENSIONS, np.float32)})
    failing = False

    def one(asked: Asked) -> Answer | None:
        return answer if failing else _sound(asked)

    with _server(one, tmp_path) as (_, store):
        index = store.open(VERSION)
        failing = True
        with pytest.raises(error, match=says):
            store.open(VERSION)
        with pytest.raises(error, match=says):
            index.search(query)
        with pytest.raises(error, match=says):
            index.entry("one")
        with pytest.raises(error, match=says):
            next(index.ids())


def test_a_server_that_has_had_enough_says_when_to_come_back(tmp_path: Path) -> None:
    with _server(lambda _: Answer(status=429, headers={"Retry-After": "7"}), tmp_path) as (endpoint, store):
        with pytest.raises(EngineUnavailable) as raised:
            store.names()
        assert len(endpoint.asked) == 1

    assert raised.value.retry_after_seconds == 7


@pytest.mark.parametrize("after", ["soon", ""])
def test_a_server_that_says_it_badly_is_asked_again_all_the_same(after: str, tmp_path: Path) -> None:
    with (
        _server(lambda _: Answer(status=429, headers={"Retry-After": after}), tmp_path) as (_, store),
        pytest.raises(EngineUnavailable) as raised,
    ):
        store.names()

    assert raised.value.retry_after_seconds > 0


def test_a_server_that_never_answers_is_left_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "TIMEOUT_SECONDS", 1)

    def hang(asked: Asked) -> None:
        endpoint.over.wait(30)

    with _server(hang, tmp_path) as (endpoint, store), pytest.raises(EngineUnavailable, match="timed out"):
        store.names()


def test_a_server_that_is_down_is_asked_again_later(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        store = store_of(tmp_path, "acme.catalogue", url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(EngineUnavailable, match="refused"):
            store.names()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_is_sent(tmp_path: Path) -> None:
    with _server(_sound, tmp_path, key="secret") as (endpoint, store):
        assert store.names() == [VERSION]

    assert {name.lower(): value for name, value in endpoint.asked[0].headers.items()}["api-key"] == "secret"


@pytest.mark.parametrize("metadata", [None, {}, {"form": 99}])
def test_a_collection_without_our_notes_is_not_opened(metadata: Mapping[str, Any] | None, tmp_path: Path) -> None:
    def one(asked: Asked) -> Answer:
        return _aliases() if asked.path.startswith("/aliases") else _collection(metadata)

    with _server(one, tmp_path) as (_, store), pytest.raises(SnapshotOutdated):
        store.open(VERSION)


def _publish(store: stores.QdrantStore) -> str:
    with store.building(SCHEMA) as build:
        for entry in made_entries(5):
            build.put(entry)
        return build.publish()


def _names_a_version(asked: Asked) -> bool:
    return asked.path.startswith("/collections/aliases")


def _writes() -> list[tuple[str, Callable[[Asked], bool]]]:
    return [
        ("create", lambda asked: asked.method == "PUT" and asked.path.split("?")[0].endswith(".points")),
        ("index", lambda asked: asked.method == "PUT" and "/index" in asked.path),
        ("upsert", lambda asked: asked.method == "PUT" and "/points?" in asked.path and not _is_claim(asked)),
        ("update", lambda asked: asked.method == "PATCH"),
        ("count", lambda asked: asked.path.endswith("/points/count")),
        ("name", _names_a_version),
    ]


@pytest.mark.parametrize(("answer", "error", "says"), FAILURES)
def test_nothing_is_built_without_a_claim(
    answer: Answer | None, error: type[VectorsError], says: str, tmp_path: Path
) -> None:
    with (
        _server(lambda asked: answer if _is_claim(asked) else _sound(asked), tmp_path) as (endpoint, store),
        pytest.raises(error, match=says),
    ):
        _publish(store)

    assert all(map(_is_claim, endpoint.asked))


@pytest.mark.parametrize(("answer", "error", "says"), FAILURES)
@pytest.mark.parametrize("step", range(6), ids=[name for name, _ in _writes()])
def test_a_build_that_fails_in_the_middle_publishes_nothing_and_cleans_up(
    step: int, answer: Answer | None, error: type[VectorsError], says: str, tmp_path: Path
) -> None:
    _, is_it = _writes()[step]

    with (
        _server(lambda asked: answer if is_it(asked) else _sound(asked), tmp_path) as (endpoint, store),
        pytest.raises(error, match=says),
    ):
        _publish(store)

    named = [asked for asked in endpoint.asked if _names_a_version(asked)]
    assert len(named) == (1 if is_it is _names_a_version else 0)
    last = [asked for asked in endpoint.asked if not _is_claim(asked)][-1]
    assert last.method == "DELETE"
    assert POINTS not in last.path  # its own collection, not the published one
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_goes_well_names_the_version_in_one_request(tmp_path: Path) -> None:
    with _server(_sound, tmp_path) as (endpoint, store):
        name = _publish(store)

    (naming,) = [asked for asked in endpoint.asked if _names_a_version(asked)]
    assert naming.body["actions"] == [
        {"delete_alias": {"alias_name": "acme.catalogue.newest"}},
        {"create_alias": {"collection_name": f"{name}.points", "alias_name": name}},
        {"create_alias": {"collection_name": f"{name}.points", "alias_name": "acme.catalogue.newest"}},
    ]
    order = [next((known for known, is_it in _writes() if is_it(asked)), "") for asked in endpoint.asked]
    assert [one for one in dict.fromkeys(order) if one] == ["create", "index", "upsert", "update", "count", "name"]


@pytest.mark.parametrize(
    ("statuses", "is_published"),
    [(["yellow", "yellow", "green"], True), (["red"], False), (["grey"], True), (["yellow"], False)],
)
def test_a_version_is_published_when_its_graphs_are_made(
    statuses: list[str], is_published: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(building, "_IDLE_SECONDS", 0.1)
    monkeypatch.setattr(building, "_SETTLING_SECONDS", 0.3)
    polls = iter(statuses)

    def one(asked: Asked) -> Answer:
        if asked.method == "GET" and asked.path.endswith(".points"):
            return _collection(METADATA, next(polls, statuses[-1]))
        return _sound(asked)

    with _server(one, tmp_path) as (endpoint, store):
        if is_published:
            _publish(store)
        else:
            with pytest.raises(SnapshotUnsound, match="on the server"):
                _publish(store)

    assert any(_names_a_version(asked) for asked in endpoint.asked) is is_published


def test_without_an_address_the_engine_is_files(tmp_path: Path) -> None:
    assert isinstance(store_of(tmp_path, "acme.catalogue"), Shelf)


def test_without_its_package_the_engine_says_how_to_install_it(tmp_path: Path) -> None:
    code = f"""
import pathlib, sys
sys.modules["qdrant_client"] = None
from workers.vectors.engine import store_of
from workers.vectors.errors import EngineMissing
store_of(pathlib.Path({str(tmp_path)!r}), "acme.catalogue")
try:
    store_of(pathlib.Path({str(tmp_path)!r}), "acme.catalogue", url="http://127.0.0.1:1")
except EngineMissing as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )

    assert "pip install 'backline[qdrant]'" in done.stdout


def test_files_are_searched_without_the_servers_package() -> None:
    code = "import sys, workers.vectors.engine; assert not {'qdrant_client', 'grpc'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
