"""The same job with another model or engine: what these can't do now comes later, what they never will is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from qdrant_client import QdrantClient

from shared.clock import now
from shared.model import Db
from shared.settings import Settings
from shared.store import catalogue, indexes
from shared.store.catalogue import CatalogueEntry
from shared.store.indexes import IndexName, IndexPointer
from shared.store.job_record import JobRecord, JobStatus
from tests.endpoint import Answer, Asked, Endpoint, serving
from tests.integration.engine import Engine, engine_on
from workers.indexing.models import text_embedder
from workers.indexing.stores import store_in
from workers.vectors.query import Query

OWNER = "local"
KEY = "sk-very-secret"
# What the client says of its engine in memory: it compares everything, always.
in_memory = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


def _store(db: Db, *titles: str, **changes: Any) -> None:
    for title in titles:
        moment = now()
        entry = CatalogueEntry.model_validate(
            {"id": title, "catalogue": "anime", "form": "anime", "title": title, "created_at": moment}
            | {"updated_at": moment, **changes}
        )
        db[catalogue.COLLECTION].replace_one({"_id": entry.id}, entry.to_document(), upsert=True)


def _build(engine: Engine, **request: object) -> JobRecord:
    return engine.drive(engine.submit("vector_index", **request).id)


def _errors(engine: Engine, job: JobRecord) -> set[str]:
    return {item.error.code for item in engine.items(job.id) if item.error}


def _pointer(engine: Engine) -> IndexPointer:
    found = indexes.find(engine.db, OWNER, "catalogue")
    assert found is not None
    return found


def _found(engine: Engine, query: Query) -> list[str]:
    with store_in(engine.settings, OWNER, IndexName.CATALOGUE).open(_pointer(engine).snapshot) as index:
        return [hit.id for hit in index.search(query)]


def _counted(text: str) -> list[float]:
    """Return how often each vowel is in a text, as a vector."""
    return [1.0 + 10 * text.lower().count(vowel) for vowel in "aeiou"]


@contextmanager
def _with_endpoint(db: Db, settings: Settings, *answers: Answer | None) -> Iterator[tuple[Engine, Endpoint]]:
    """Let texts be embedded by an endpoint that gives these answers first."""
    first = iter(answers)

    def answer(asked: Asked) -> Answer | None:
        data = [{"index": place, "embedding": _counted(text)} for place, text in enumerate(asked.body["input"])]
        return next(first, Answer(body={"data": data}))

    with serving(answer) as endpoint:
        changes = {"embedder": "openai:vowels", "embedder_url": endpoint.url, "embedder_key": SecretStr(KEY)}
        with engine_on(db, settings.model_copy(update=changes)) as engine:
            yield engine, endpoint


def test_texts_are_embedded_by_the_endpoint_that_the_settings_name(db: Db, settings: Settings) -> None:
    with _with_endpoint(db, settings) as (engine, endpoint):
        _store(db, "aaaa", "oooo")

        job = _build(engine)

        assert job.status is JobStatus.SUCCEEDED
        embedder = text_embedder(engine.settings)
        assert _pointer(engine).embedder == embedder.id
        assert _found(engine, Query(near={"text": embedder.embed_query("o, o!")}, k=1)) == ["oooo"]
    assert all(asked.headers["Authorization"] == f"Bearer {KEY}" for asked in endpoint.asked)


def test_an_endpoint_that_has_had_enough_is_asked_again_when_it_says(db: Db, settings: Settings) -> None:
    busy = Answer(status=429, headers={"Retry-After": "0"})
    with _with_endpoint(db, settings, busy, busy) as (engine, endpoint):
        _store(db, "aaaa", "oooo")

        job = _build(engine)

        assert job.status is JobStatus.SUCCEEDED
        assert _errors(engine, job) == set()
    assert len(endpoint.asked) > 2


def test_an_endpoint_that_refuses_the_key_fails_the_items(db: Db, settings: Settings) -> None:
    with _with_endpoint(db, settings, *[Answer(status=401)] * 9) as (engine, _):
        _store(db, "aaaa")

        job = _build(engine)

        assert job.status is JobStatus.FAILED
        assert _errors(engine, job) == {"embedder_refused"}
        assert indexes.find(db, OWNER, "catalogue") is None


@pytest.fixture
def on_server(db: Db, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine whose indexes are on the client's own server in memory."""
    client = QdrantClient(":memory:")
    monkeypatch.setattr("workers.vectors.qdrant.store.client_of", lambda *_: client)
    with engine_on(db, settings.model_copy(update={"vector_url": "http://127.0.0.1:1"})) as engine:
        yield engine
    client.close()


class TestOnAServer:
    pytestmark = in_memory

    def test_what_is_stored_is_found(self, on_server: Engine) -> None:
        _store(on_server.db, "Star Voyagers", "The Kitchen of Dreams", "Noodle Days")

        job = _build(on_server)

        assert job.status is JobStatus.SUCCEEDED
        assert _pointer(on_server).entries == 3
        assert _found(on_server, Query(text="kitchen")) == ["The Kitchen of Dreams"]
        meant = text_embedder(on_server.settings).embed_query("a cook prepares soup")
        assert "Star Voyagers" not in _found(on_server, Query(near={"text": meant}, k=2))

    def test_an_update_brings_what_has_changed_and_the_version_before_stays(self, on_server: Engine) -> None:
        _store(on_server.db, "Star Voyagers", "The Kitchen of Dreams", "Noodle Days")
        _build(on_server)
        first = _pointer(on_server).snapshot
        _store(on_server.db, "Noodle Days", removed_at=now())
        _store(on_server.db, "Iron Giants")

        job = _build(on_server)

        assert job.summary is not None
        assert (job.summary["entries"], _pointer(on_server).previous) == (3, first)
        assert _found(on_server, Query(text="noodle giants")) == ["Iron Giants"]
        indexes.roll_back(on_server.db, OWNER, "catalogue")
        assert _found(on_server, Query(text="noodle giants")) == ["Noodle Days"]

    def test_nothing_new_builds_nothing(self, on_server: Engine) -> None:
        _store(on_server.db, "Star Voyagers")
        _build(on_server)
        before = _pointer(on_server).snapshot

        _build(on_server)

        assert _pointer(on_server).snapshot == before

    def test_two_builds_of_one_index_come_one_after_the_other(self, on_server: Engine) -> None:
        _store(on_server.db, "Star Voyagers")
        _build(on_server)
        rival = store_in(on_server.settings, OWNER, IndexName.CATALOGUE)
        schema = rival.open(_pointer(on_server).snapshot).schema
        job = on_server.submit("vector_index", rebuild=True)
        with rival.building(schema):
            on_server.plan(job.id)
            for _ in range(3):
                on_server.run()
                on_server.plan(job.id)
            assert on_server.job(job.id).status is JobStatus.RUNNING

        assert on_server.drive(job.id).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("answer", "status", "errors"),
    [
        (Answer(status=401), JobStatus.PARTIAL, {"engine_refused"}),
        (Answer(status=503), JobStatus.RUNNING, set()),
        (None, JobStatus.RUNNING, set()),
    ],
    ids=["refuses", "is busy", "hangs up"],
)
def test_a_server_that_does_not_answer_is_waited_for_and_one_that_refuses_is_not(
    answer: Answer | None, status: JobStatus, errors: set[str], db: Db, settings: Settings
) -> None:
    _store(db, "Star Voyagers")
    with (
        serving(lambda _: answer) as endpoint,
        engine_on(db, settings.model_copy(update={"vector_url": endpoint.url})) as engine,
    ):
        job = engine.submit("vector_index")
        engine.turn(job.id, times=4)

        assert endpoint.asked
        assert engine.job(job.id).status is status
        assert _errors(engine, engine.job(job.id)) == errors
