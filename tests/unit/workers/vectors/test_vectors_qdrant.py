"""The engine on a server answers as the one in files does, and nobody sees half a version of it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient
from qdrant_client.models import PointStruct

from tests.waiting import wait_until
from workers.vectors.engine import Index, Store
from workers.vectors.errors import (
    BuildInProgress,
    EngineUnavailable,
    InvalidEntry,
    InvalidQuery,
    InvalidSchema,
    SnapshotMissing,
    SnapshotOutdated,
    SnapshotUnsound,
    UnknownEntry,
)
from workers.vectors.filters import Between, Condition, Excluding, HasAll, HasAny, HasNone, OneOf
from workers.vectors.qdrant.claim import CLAIMS, _Claim
from workers.vectors.qdrant.store import QdrantStore
from workers.vectors.query import NAME, WORDS, Hit, Query
from workers.vectors.schema import Entry, Schema, Space
from workers.vectors.shelf import Shelf
from workers.vectors.targets import Scale, Target

from .conftest import DIMENSIONS, REFUSED, SCHEMA, TAGS, TYPES, made_entries, matched

# What the client says of its engine in memory: it compares everything, always.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

ENTRIES = made_entries(500)
ENTRIES_BY_ID = {entry.id: entry for entry in ENTRIES}


def _publish(store: Store, entries: Sequence[Entry], *, base: str | None = None, removed: Sequence[str] = ()) -> str:
    with store.building(SCHEMA, base=base, provenance={"embedder": "a/1"}) as build:
        for one in removed:
            build.remove(one)
        for entry in entries:
            build.put(entry)
        return build.publish()


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture
def store(client: QdrantClient, tmp_path: Path) -> QdrantStore:
    return QdrantStore(client, "acme.catalogue", tmp_path)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Index]]:
    """The same entries on a server and in files."""
    client = QdrantClient(":memory:")
    stores: Sequence[Store] = (
        QdrantStore(client, "acme.catalogue", tmp_path_factory.mktemp("spool")),
        Shelf(tmp_path_factory.mktemp("shelf")),
    )
    served, filed = (store.open(_publish(store, ENTRIES)) for store in stores)
    yield served, filed
    filed.close()
    client.close()


_YEARS = st.one_of(st.integers(1955, 2030), st.sampled_from((-math.inf, math.inf)))
_LABELS = st.lists(st.sampled_from((*TAGS, "ACTION", "unknown", "CAFÉ", "  space  OPERA", "\udc80")), max_size=3)
_CONDITIONS: st.SearchStrategy[Condition] = st.one_of(
    st.builds(Between, st.just("year"), _YEARS, _YEARS),
    st.builds(Between, st.just("score"), st.floats(0, 10), st.floats(0, 10)),
    st.builds(OneOf, st.just("year"), st.lists(st.integers(1960, 2026), max_size=4)),
    st.builds(HasAny, st.just("tags"), _LABELS),
    st.builds(HasAll, st.just("tags"), _LABELS),
    st.builds(HasNone, st.just("tags"), _LABELS),
    st.builds(HasAny, st.just("type"), st.lists(st.sampled_from(TYPES), max_size=2)),
    st.builds(Excluding, st.lists(st.sampled_from([entry.id for entry in ENTRIES] + ["no", "\udc80"]), max_size=20)),
)


def _assert_same(hits: Sequence[Hit], others: Sequence[Hit]) -> None:
    np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], atol=1e-3, rtol=1e-3)
    assert [hit.id for hit in hits] == [hit.id for hit in others]
    for hit, other in zip(hits, others, strict=True):
        assert hit.parts.keys() == other.parts.keys()
        assert hit.asked == other.asked


@settings(max_examples=150, deadline=None)
@given(
    conditions=st.lists(_CONDITIONS, max_size=3),
    k=st.sampled_from((1, 10, 50)),
    seed=st.integers(0, 10_000),
    space=st.sampled_from(("text", "audio")),
)
def test_the_same_vector_and_filter_find_the_same_in_both_engines(
    both: tuple[Index, Index], conditions: list[Condition], k: int, seed: int, space: str
) -> None:
    vector = np.random.default_rng(seed).standard_normal(SCHEMA.spaces[space].dimensions).astype(np.float32)
    query = Query(near={space: vector}, conditions=conditions, k=k)

    served, filed = (index.search(query) for index in both)

    _assert_same(served, filed)


@settings(max_examples=80, deadline=None)
@given(conditions=st.lists(_CONDITIONS, max_size=2), number=st.integers(0, len(ENTRIES) - 1), tag=st.sampled_from(TAGS))
def test_the_same_words_find_the_same_in_both_engines(
    both: tuple[Index, Index], conditions: list[Condition], number: int, tag: str
) -> None:
    query = Query(text=f"{ENTRIES[number].texts['title'][0]} {tag}", conditions=conditions, k=500)

    served, filed = (index.search(query) for index in both)

    # what is as good may change places: scores are sums in another order
    assert {hit.id for hit in served} == {hit.id for hit in filed}
    np.testing.assert_allclose([hit.score for hit in served], [hit.score for hit in filed], rtol=1e-4)
    by_server, by_files = both
    assert {one.id: matched(by_server, one) for one in served} == {one.id: matched(by_files, one) for one in filed}


@pytest.mark.parametrize("number", range(0, 500, 50))
def test_words_and_vectors_together_find_nearly_the_same_in_both_engines(
    both: tuple[Index, Index], number: int
) -> None:
    entry = ENTRIES[number]
    query = Query(text=entry.texts["title"][0], near={"text": entry.vectors["text"]}, k=20)

    served, filed = (index.search(query) for index in both)

    assert served[0].id == filed[0].id == entry.id
    assert len({hit.id for hit in served} & {hit.id for hit in filed}) >= 18
    assert served[0].parts.keys() == filed[0].parts.keys() == {"text", WORDS, NAME}
    for hit in served:
        assert hit.score == pytest.approx(sum(1 / (60 + part.rank) for part in hit.parts.values()))


def test_pages_fit_together_in_both_engines(both: tuple[Index, Index]) -> None:
    vector = np.random.default_rng(3).standard_normal(DIMENSIONS).astype(np.float32)
    for index in both:
        for query in (Query(near={"text": vector}), Query(near={"text": vector}, text="action")):
            pages = [hit for start in range(0, 150, 50) for hit in index.search(replace(query, offset=start, k=50))]
            assert [hit.id for hit in pages] == [hit.id for hit in index.search(replace(query, k=150))]


_TARGETS = st.dictionaries(
    st.sampled_from(("year", "score")),
    st.builds(Target, st.floats(1, 2030), st.sampled_from(Scale)),
    min_size=1,
)


@settings(max_examples=150, deadline=None)
@given(conditions=st.lists(_CONDITIONS, max_size=2), targets=_TARGETS, k=st.sampled_from((1, 10, 50)))
def test_the_same_features_find_the_same_in_both_engines(
    both: tuple[Index, Index], conditions: list[Condition], targets: dict[str, Target], k: int
) -> None:
    served, filed = (index.search(Query(targets=targets, conditions=conditions, k=k)) for index in both)

    np.testing.assert_allclose([hit.score for hit in served], [hit.score for hit in filed], atol=5e-3)
    told = {hit.id: hit.score for hit in both[1].search(Query(targets=targets, conditions=conditions, k=len(ENTRIES)))}
    # what is as good may change places: the server's numbers are shorter
    assert all(hit.score == pytest.approx(told[hit.id], abs=5e-3) for hit in served)


@settings(max_examples=60, deadline=None)
@given(conditions=st.lists(_CONDITIONS, max_size=3), limit=st.sampled_from((1, 20, 500)))
def test_the_same_conditions_are_met_in_both_engines(
    both: tuple[Index, Index], conditions: list[Condition], limit: int
) -> None:
    served, filed = both
    meeting = set(filed.matching(conditions, len(ENTRIES)))

    assert served.count(conditions) == filed.count(conditions) == len(meeting)
    found = served.matching(conditions, limit)
    assert set(found) <= meeting
    assert len(set(found)) == len(found) == min(limit, len(meeting))
    assert found == served.matching(conditions, limit)
    highest = [
        [ENTRIES_BY_ID[one].attributes["score"] for one in index.highest("score", limit, conditions)] for index in both
    ]
    assert highest[0] == highest[1]


def test_the_whole_of_a_version_is_the_same_in_both_engines(both: tuple[Index, Index]) -> None:
    told = []
    for index in both:
        rows, vectors = index.every_vector("audio")
        ids = index.ids_at(rows)
        years = index.numbers("year")[rows]
        assert ids == [one for one in ids if "audio" in ENTRIES_BY_ID[one].vectors]
        told.append({one: (*vector.round(4), year) for one, vector, year in zip(ids, vectors, years, strict=True)})
    assert told[0].keys() == told[1].keys()
    for one in told[0]:
        np.testing.assert_allclose(told[0][one], told[1][one], atol=1e-3)
    for index in both:
        with pytest.raises(InvalidQuery, match="column of numbers 'tags'"):
            index.numbers("tags")


def test_many_are_read_at_once_as_far_as_they_are_there(both: tuple[Index, Index]) -> None:
    wanted = ["no", "\udc80", *(entry.id for entry in ENTRIES[40:0:-1])]
    silent = {entry.id for entry in ENTRIES if "audio" not in entry.vectors}
    for index in both:
        assert list(index.find_entries(wanted)) == wanted[2:]
        assert index.find_entries(wanted)[wanted[5]].texts == ENTRIES_BY_ID[wanted[5]].texts
        having, vectors = index.find_vectors(wanted, "audio")
        assert having == [one for one in wanted[2:] if one not in silent]
        np.testing.assert_allclose(vectors, index.vectors(having, "audio"))
        assert index.find_vectors(["no"], "audio")[1].shape == (0, SCHEMA.spaces["audio"].dimensions)


def test_a_direction_is_looked_for_as_it_is_compared(both: tuple[Index, Index]) -> None:
    (direction,) = both[1].vectors(
        [next(one for one, entry in ENTRIES_BY_ID.items() if "audio" in entry.vectors)], "audio"
    )
    found = [index.search(Query(near={"audio": index.as_query(direction, "audio")}, k=20)) for index in both]

    _assert_same(*found)
    assert found[0][0].score == pytest.approx(1, abs=1e-4)


def test_both_engines_keep_the_same(both: tuple[Index, Index]) -> None:
    served, filed = both

    assert sorted(served.ids()) == sorted(filed.ids())
    assert len(served) == len(filed) == len(ENTRIES)
    assert (served.schema, served.provenance, served.recall) == (filed.schema, filed.provenance, filed.recall)
    assert served.size > 0
    ids = [entry.id for entry in ENTRIES if "audio" in entry.vectors][:5]
    for space in SCHEMA.spaces:
        np.testing.assert_allclose(served.vectors(ids, space), filed.vectors(ids, space), atol=1e-5)
        np.testing.assert_allclose(served.originals(ids, space), filed.originals(ids, space), rtol=1e-6)
        assert served.vectors([], space).shape == (0, SCHEMA.spaces[space].dimensions)
    for one in ids:
        entry, other = served.entry(one), filed.entry(one)
        assert (entry.texts, entry.attributes) == (other.texts, other.attributes)
        assert entry.vectors.keys() == other.vectors.keys()


@pytest.mark.parametrize(("query", "says"), REFUSED)
def test_a_query_that_cannot_be_is_refused_in_the_same_words(
    both: tuple[Index, Index], query: Query, says: str
) -> None:
    for index in both:
        with pytest.raises(InvalidQuery, match=says):
            index.search(query)


@pytest.mark.parametrize("asked", ["", "\0", "🎉", "\udc80", "unheardof", "x" * 10_000, '" OR 1 --'])
def test_words_that_nothing_has_find_nothing(both: tuple[Index, Index], asked: str) -> None:
    assert both[0].search(Query(text=asked)) == []


def test_a_known_word_is_found_among_a_thousand_unknown_ones(both: tuple[Index, Index]) -> None:
    asked = "mecha " + " ".join(f"zz{number}" for number in range(1000))

    assert both[0].search(Query(text=asked)) != []


@pytest.mark.parametrize("one", ["nobody", "", "\udc80"])
def test_an_unknown_id_is_refused_in_words(both: tuple[Index, Index], one: str) -> None:
    with pytest.raises(UnknownEntry, match="no entry"):
        both[0].entry(one)
    silent = next(entry.id for entry in ENTRIES if "audio" not in entry.vectors)
    with pytest.raises(UnknownEntry, match="no vector in the space audio"):
        both[0].originals([silent], "audio")
    with pytest.raises(InvalidQuery, match="no space"):
        both[0].vectors([silent], "picture")


def test_changes_give_the_same_as_building_anew(store: QdrantStore) -> None:
    others = made_entries(60, seed=4)
    first = _publish(store, ENTRIES[:100])

    changed = store.open(_publish(store, others, base=first, removed=[entry.id for entry in ENTRIES[80:100]]))
    anew = store.open(_publish(store, [*others, *ENTRIES[60:80]]))

    assert sorted(changed.ids()) == sorted(anew.ids())
    for query in (
        Query(near={"audio": np.arange(5, dtype=np.float32)}, k=50),
        Query(text=others[0].texts["title"][0], near={"text": others[1].vectors["text"]}, k=50),
    ):
        _assert_same(changed.search(query), anew.search(query))
    assert len(store.open(first)) == 100


def test_the_last_word_on_an_entry_counts(store: QdrantStore) -> None:
    with store.building(SCHEMA) as build:
        for word in ("first", "second", "third"):
            build.put(Entry(id="one", texts={"title": [word]}))
        build.put(Entry(id="two", texts={"title": ["gone"]}))
        build.remove("two")
        build.remove("nobody")
        with pytest.raises(InvalidEntry):
            build.put(Entry(id="", texts={"title": ["wrong"]}))
        name = build.publish()

    index = store.open(name)
    assert [hit.id for hit in index.search(Query(text="third"))] == ["one"]
    assert index.search(Query(text="first gone wrong")) == []


def test_an_empty_version_finds_nothing(store: QdrantStore) -> None:
    index = store.open(_publish(store, []))

    assert (len(index), list(index.ids())) == (0, [])
    assert index.search(Query(text="x", near={"text": np.ones(DIMENSIONS, np.float32)})) == []


def _collections(client: QdrantClient) -> list[str]:
    return sorted(one.name for one in client.get_collections().collections if one.name != CLAIMS)


def test_the_newest_version_has_a_name_that_stays(store: QdrantStore, client: QdrantClient) -> None:
    first = _publish(store, ENTRIES[:3])
    assert client.count("acme.catalogue.newest").count == 3

    second = _publish(store, ENTRIES[:5])

    assert client.count("acme.catalogue.newest").count == 5
    assert store.names() == [first, second]


def test_old_versions_go_and_the_one_before_stays(store: QdrantStore, client: QdrantClient, tmp_path: Path) -> None:
    neighbour = QdrantStore(client, "acme.catalogue-two", tmp_path)
    names = [_publish(store, ENTRIES[:3]) for _ in range(4)]
    other = _publish(neighbour, ENTRIES[:3])

    assert store.clean(keep=names[:1]) == [names[1]]

    assert store.names() == [names[0], *names[2:]]
    assert neighbour.names() == [other]
    assert len(_collections(client)) == 4
    with pytest.raises(SnapshotMissing):
        store.open(names[1])
    assert store.clean() == [names[0]]


def test_what_is_not_published_is_thrown_away(store: QdrantStore, client: QdrantClient, tmp_path: Path) -> None:
    with store.building(SCHEMA) as build:
        build.put(ENTRIES[0])

    assert (store.names(), _collections(client), list(tmp_path.iterdir())) == ([], [], [])


class _Failing(QdrantClient):
    """The client's own engine in memory, which stops working at one call; claims go on."""

    fails_at = ""

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != type(self).fails_at:
            return found

        def fail(*args: Any, **options: Any) -> Any:
            if args[:1] == (CLAIMS,):
                return found(*args, **options)
            raise EngineUnavailable("gone", retry_after_seconds=1)

        return fail


@pytest.mark.parametrize(
    "call",
    [
        "create_collection",
        "create_payload_index",
        "upsert",
        "update_collection",
        "get_collection",
        "count",
        "update_collection_aliases",
    ],
)
@pytest.mark.parametrize("is_gone_for_good", [False, True])
def test_a_build_that_dies_shows_nothing_and_the_next_one_succeeds(
    call: str, is_gone_for_good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = _Failing(":memory:")
    store = QdrantStore(client, "acme.catalogue", tmp_path)
    before = _publish(store, ENTRIES[:10])

    with monkeypatch.context() as patch:
        patch.setattr(_Failing, "fails_at", call)
        if is_gone_for_good:  # nobody is left to clean up, as after a kill
            patch.setattr(QdrantStore, "_abandon", lambda *_: None)
        with pytest.raises(EngineUnavailable):
            _publish(store, ENTRIES[:20])
    assert store.names() == [before]
    assert client.count("acme.catalogue.newest").count == 10

    after = _publish(store, ENTRIES[:30])

    assert store.names() == [before, after]
    assert len(_collections(client)) == 2
    client.close()


def test_one_process_at_a_time_builds_a_collection(store: QdrantStore, client: QdrantClient, tmp_path: Path) -> None:
    rival = QdrantStore(client, "acme.catalogue", tmp_path / "rival")
    neighbour = QdrantStore(client, "acme.tracks", tmp_path / "neighbour")

    with store.building(SCHEMA) as build:
        build.put(ENTRIES[0])
        with pytest.raises(BuildInProgress), rival.building(SCHEMA):
            pass
        _publish(neighbour, ENTRIES[:2])
        mine = build.publish()
    after = _publish(rival, ENTRIES[:2])

    assert store.names() == [mine, after]
    assert client.count(CLAIMS).count == 0


def test_the_claim_of_a_killed_build_lapses(
    store: QdrantStore, client: QdrantClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".spool-left").mkdir()
    killed = _Claim(client, "acme.catalogue", "killed")
    killed.begin()
    with pytest.raises(BuildInProgress):
        _publish(store, ENTRIES[:2])

    monkeypatch.setattr("workers.vectors.qdrant.claim.LAPSE_SECONDS", 0.0)
    name = _publish(store, ENTRIES[:2])

    assert store.names() == [name]
    assert client.count(CLAIMS).count == 0
    assert list(tmp_path.iterdir()) == []


def test_a_claim_lives_as_long_as_its_build(
    store: QdrantStore, client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.vectors.qdrant.claim.BEAT_SECONDS", 0.01)

    def alive() -> float:
        (claim,), _ = client.scroll(CLAIMS)
        return float((claim.payload or {})["alive"])

    with store.building(SCHEMA):
        first = alive()
        wait_until(lambda: alive() > first)
    assert client.count(CLAIMS).count == 0


def test_a_server_that_lost_entries_publishes_nothing(store: QdrantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.vectors.qdrant.build._POINTS_MAX", 10)
    sent = store._client.upsert

    def lose_one(name: str, points: list[PointStruct], *, wait: bool) -> object:
        return sent(name, points if name == CLAIMS else points[1:], wait=wait)

    monkeypatch.setattr(store._client, "upsert", lose_one)

    with pytest.raises(SnapshotUnsound, match="25 entries were sent, but the server counts 22"):
        _publish(store, ENTRIES[:25])

    assert store.names() == []


def test_a_base_of_another_form_is_not_built_upon(store: QdrantStore, client: QdrantClient) -> None:
    name = _publish(store, ENTRIES[:3])

    with (
        pytest.raises(SnapshotOutdated, match="another schema"),
        store.building(Schema(spaces={"text": Space(dimensions=3)}), base=name),
    ):
        pass
    client.update_collection(f"{name}.points", metadata={"form": 0})
    with pytest.raises(SnapshotOutdated, match="has the form 0"):
        store.open(name)


def test_where_not_all_are_compared_the_recall_is_measured(store: QdrantStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.vectors.qdrant.build.SCANNED_ROWS_MAX", 10)
    monkeypatch.setattr("workers.vectors.qdrant.build.Trial.recall", lambda *_: 0.98)
    assert store.open(_publish(store, ENTRIES[:50])).recall == 0.98

    monkeypatch.setattr("workers.vectors.qdrant.build.Trial.recall", lambda *_: 0.5)
    index = store.open(_publish(store, ENTRIES[:50]))

    assert index.recall == 1  # compared one by one: slow and right
    monkeypatch.undo()
    monkeypatch.setattr("workers.vectors.qdrant.build.SCANNED_ROWS_MAX", 10)
    assert store.open(_publish(store, ENTRIES[:50])).recall == 1  # in memory nothing is missed


@pytest.mark.parametrize("name", ["", "a/b", ".a", "a b", "a" * 200, "ä"])
def test_a_name_that_no_server_takes_is_refused(name: str, client: QdrantClient, tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema):
        QdrantStore(client, name, tmp_path)
