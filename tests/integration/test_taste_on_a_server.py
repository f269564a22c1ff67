"""Recommendations, clusters and playlists come out the same where the index is on a server of vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from qdrant_client import QdrantClient

from shared.clock import now
from shared.errors import SearchUnavailable
from shared.model import Db, Json
from shared.playlists import PlaylistRequest
from shared.search import SearchAnswer, TrackSearch
from shared.settings import Settings
from shared.store import clusters, indexes
from shared.store.indexes import IndexName, IndexPointer, index_id
from shared.store.job_record import JobStatus
from tests.endpoint import Answer
from tests.endpoint import serving as serving_endpoint
from tests.integration.engine import Engine, engine_on
from tests.taste_data import CATALOGUE, GENRES, TRACKS, made_series, made_tracks, publish_index
from workers.indexing.models import text_embedder
from workers.indexing.stores import store_in
from workers.search.meaning import QueryEmbedder
from workers.search.opened import OpenIndex, OpenIndexes
from workers.search.searching import Searcher
from workers.taste import current
from workers.vectors.engine import Index
from workers.vectors.qdrant.index import QdrantIndex
from workers.vectors.qdrant.reading import Reader

# What the client says of its engine in memory: it compares everything, always.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

NOWHERE = "http://127.0.0.1:1"  # the client in memory never goes there


@dataclass(frozen=True, kw_only=True)
class Both:
    """The same library, its indexes in files and on a server."""

    filed: Engine
    served: Engine

    def __iter__(self) -> Iterator[Engine]:
        return iter((self.filed, self.served))


@pytest.fixture
def both(db: Db, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    client = QdrantClient(":memory:")
    monkeypatch.setattr("workers.vectors.qdrant.store.client_of", lambda *_: client)
    elsewhere = settings.model_copy(update={"vector_url": NOWHERE})
    with engine_on(db, settings) as filed, engine_on(db, elsewhere) as served:
        yield Both(filed=filed, served=served)
    current._open.clear()
    client.close()


def publish(engine: Engine, name: str) -> None:
    made, schema = (made_series(360), CATALOGUE) if name == "catalogue" else (made_tracks(360), TRACKS)
    publish_index(engine.db, engine.settings, name, made, schema=schema)


def batches(engine: Engine) -> list[tuple[Any, ...]]:
    fields = ("userId", "rank", "itemId", "trackId", "title", "reason", "coldStart")
    found = engine.db["recommendations"].find({}).sort([("userId", 1), ("rank", 1)])
    return [tuple(one.get(field) for field in fields) for one in found]


def recommended(engine: Engine, **request: Any) -> list[tuple[Any, ...]]:
    engine.db["recommendations"].delete_many({})
    job = engine.drive(engine.submit("recommendations", **request).id)
    assert job.status is JobStatus.SUCCEEDED
    return batches(engine)


@pytest.mark.parametrize(("name", "prefix"), [("catalogue", "mal-"), ("tracks", "track-")])
def test_the_same_is_recommended(both: Both, name: str, prefix: str) -> None:
    def named(number: int) -> str:
        return f"{prefix}{number}" if name == "catalogue" else f"{prefix}{number:05d}"

    ratings = [
        {"userId": user, "itemId": named(12 * n + user_number), "score": 9, "updatedAt": now()}
        for user_number, user in enumerate(("ada", "bo"))
        for n in range(5)
    ]
    both.filed.db["ratings"].insert_many([*ratings, {"userId": "cy", "itemId": "gone", "updatedAt": now()}])
    found = []
    for engine in both:
        publish(engine, name)
        found.append(recommended(engine, index=name, exclude=[named(24)], allUsers=True))

    assert found[0] == found[1]
    assert {user for user, *_ in found[0]} == {"ada", "bo", "cy"}
    assert len(found[0]) == 60


def test_the_same_groups_are_found_and_named_alike(both: Both) -> None:
    found = []
    for engine in both:
        publish(engine, "catalogue")
        job = engine.drive(engine.submit("clusters", kMin=11, kMax=13).id)
        assert job.status is JobStatus.SUCCEEDED
        groups = clusters.newest(engine.db, IndexName.CATALOGUE)
        found.append({(one.size, one.tags[0], one.label, one.cohesion) for one in groups})

    assert found[0] == found[1]
    assert {tag for _, tag, *_ in found[0]} == set(GENRES)


def pointer_of(engine: Engine, name: str) -> IndexPointer:
    pointer = indexes.find(engine.db, "local", name)
    assert pointer is not None
    return pointer


def opened(engine: Engine, name: str) -> Index:
    return store_in(engine.settings, "local", name).open(pointer_of(engine, name).snapshot)


def searcher(engine: Engine, name: str, snapshot: Index | None = None) -> Searcher:
    """Return what the search server answers with, one index open."""
    found = OpenIndex(
        snapshot=snapshot or opened(engine, name), published=pointer_of(engine, name).published, is_current=True
    )
    every = OpenIndexes(4)
    every.put(index_id("local", name), found)
    return Searcher(every, QueryEmbedder(text_embedder(engine.settings), lambda _: None))


@pytest.mark.parametrize(
    "request_",
    [
        {"seeds": ["track-00003", "track-00015"], "length": 15},
        {"from": "track-00004", "to": "track-00007", "length": 12, "energyCurve": "rising"},
        {"seeds": ["track-00001", "no such track"], "length": 20, "energyCurve": "steady", "ownOnly": True},
    ],
    ids=["seeds", "path", "own"],
)
def test_the_same_playlist_is_built(both: Both, request_: Json) -> None:
    wanted = PlaylistRequest.model_validate({"userId": "ada", **request_})
    built = []
    for engine in both:
        publish(engine, "tracks")
        built.append(searcher(engine, "tracks").playlist("local", wanted))

    filed, served = ([one.track_id for one in playlist.tracks] for playlist in built)
    assert filed == served
    assert built[0].notes == built[1].notes
    assert len(filed) == request_["length"]


def told(answer: SearchAnswer) -> list[Any]:
    return [(hit.track_id, [one.feature for one in hit.why.features], hit.why.parts.keys()) for hit in answer.hits]


@pytest.mark.parametrize(
    "request_",
    [
        {"targets": {"tempo": 120, "key": 3, "energy": 0.5}, "limit": 10},
        {"track_id": "track-00003", "targets": {"energy": 0.9}, "limit": 10},
        {
            "query": "song",  # which every track says: of too many equals a server does not put all in order
            "mode": "lexical",
            "targets": {"tempo": 90},
            "filters": {"mode": "major", "tempo": {"min": 80, "max": 115}},
            "limit": 5,
        },
    ],
    ids=["targets", "near a track", "words too"],
)
def test_the_same_is_found_near_wished_for_features(both: Both, request_: Json) -> None:
    answers = []
    for engine in both:
        publish(engine, "tracks")
        answers.append(searcher(engine, "tracks").answer("local", TrackSearch.model_validate(request_)))

    assert told(answers[0]) == told(answers[1])
    assert len(answers[0].hits) == request_["limit"]
    assert all(hit.why.features for hit in answers[0].hits)


@pytest.mark.parametrize(
    ("answer", "status", "errors"),
    [(Answer(status=503), JobStatus.RUNNING, set()), (Answer(status=401), JobStatus.FAILED, {"engine_refused"})],
    ids=["is busy", "refuses"],
)
@pytest.mark.parametrize("kind", ["recommendations", "clusters"])
def test_a_job_waits_for_a_server_that_is_busy_and_tells_of_one_that_refuses(
    kind: str, answer: Answer, status: JobStatus, errors: set[str], both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(both.served, "catalogue")
    monkeypatch.undo()
    request = {"userId": "ada"} if kind == "recommendations" else {"kMin": 2, "kMax": 3}
    with serving_endpoint(lambda _: answer) as endpoint:
        settings = both.served.settings.model_copy(update={"vector_url": endpoint.url})
        with engine_on(both.served.db, settings) as engine:
            job = engine.submit(kind, **request)
            engine.turn(job.id, times=4)
            assert endpoint.asked
            assert engine.job(job.id).status is status
            assert {item.error.code for item in engine.items(job.id) if item.error} == errors


def test_a_playlist_is_refused_while_the_server_is_busy(both: Both) -> None:
    publish(both.served, "tracks")
    snapshot = opened(both.served, "tracks")
    assert isinstance(snapshot, QdrantIndex)
    with serving_endpoint(lambda _: Answer(status=503)) as endpoint:
        snapshot._reader = Reader(QdrantClient(url=endpoint.url, check_compatibility=False), "it", "points")

        with pytest.raises(SearchUnavailable, match="503"):
            searcher(both.served, "tracks", snapshot).playlist(
                "local", PlaylistRequest.model_validate({"userId": "ada", "seeds": ["track-00001"]})
            )
