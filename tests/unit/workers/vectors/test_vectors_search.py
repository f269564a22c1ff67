"""Search finds what a plain loop over all entries would, whatever narrows it down."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.vectors.errors import InvalidQuery, UnknownEntry
from workers.vectors.filters import Between, Condition, Excluding, HasAll, HasAny, HasNone, OneOf
from workers.vectors.query import K_MAX, WORDS, Hit, Query
from workers.vectors.schema import Entry
from workers.vectors.shelf import Shelf

from .conftest import DIMENSIONS, REFUSED, TAGS, TYPES, Collection, Floats, made_entries, matched, publish


@pytest.fixture(scope="module")
def graph_collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """The same through a graph, which is asked as soon as a filter leaves more than 60 entries."""
    folder, entries = tmp_path_factory.mktemp("graph"), made_entries(3000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.vectors.space.SCANNED_ROWS_MAX", 1000)
        patch.setattr("workers.vectors.graph.SUBSET_MAX", 60)
        # Wide enough to miss nothing among so few: what is tested is the filtering.
        patch.setattr("workers.vectors.space.EXPANSIONS_SEARCH", (4096,))
        with Shelf(folder).open(publish(folder, entries)) as snapshot:
            assert snapshot.manifest.spaces["text"].graph is not None
            yield Collection(snapshot=snapshot, entries={entry.id: entry for entry in entries})


# A condition and the same in plain words.
Stated = tuple[Condition, Callable[[Entry], bool]]


def _numbers(entry: Entry, column: str) -> float:
    value = entry.attributes.get(column)
    return float(value) if isinstance(value, int | float) else math.nan


def _labels(entry: Entry, column: str) -> set[str]:
    value = entry.attributes.get(column)
    given = [value] if isinstance(value, str) else value if isinstance(value, Sequence) else []
    return {label.casefold() for label in given}


def _between(column: str, low: float, high: float) -> Stated:
    return Between(column, low, high), lambda entry: low <= _numbers(entry, column) <= high


def _one_of(column: str, values: list[int]) -> Stated:
    return OneOf(column, values), lambda entry: _numbers(entry, column) in values


def _any(column: str, labels: list[str]) -> Stated:
    folded = {label.casefold() for label in labels}
    return HasAny(column, labels), lambda entry: bool(folded & _labels(entry, column))


def _all(column: str, labels: list[str]) -> Stated:
    folded = {label.casefold() for label in labels}
    return HasAll(column, labels), lambda entry: folded <= _labels(entry, column)


def _none(column: str, labels: list[str]) -> Stated:
    folded = {label.casefold() for label in labels}
    return HasNone(column, labels), lambda entry: not folded & _labels(entry, column)


def _excluding(ids: list[str]) -> Stated:
    return Excluding(ids), lambda entry: entry.id not in ids


_YEARS = st.one_of(st.integers(1955, 2030), st.sampled_from((-math.inf, math.inf)))
_LABELS = st.lists(st.sampled_from((*TAGS, "ACTION", "unknown", "CAFÉ")), max_size=3)
_STATED = st.one_of(
    st.builds(_between, st.just("year"), _YEARS, _YEARS),
    st.builds(_between, st.just("score"), st.floats(0, 10), st.floats(0, 10)),
    st.builds(_one_of, st.just("year"), st.lists(st.integers(1960, 2026), max_size=4)),
    st.builds(_any, st.just("tags"), _LABELS),
    st.builds(_all, st.just("tags"), _LABELS),
    st.builds(_none, st.just("tags"), _LABELS),
    st.builds(_any, st.just("type"), st.lists(st.sampled_from(TYPES), max_size=2)),
    st.builds(_excluding, st.lists(st.integers(0, 3100).map("entry-{:05d}".format), max_size=20)),
)


def _reference(collection: Collection, vector: Floats, stated: Sequence[Stated], k: int) -> list[tuple[str, float]]:
    """Return the k nearest entries that meet all conditions, in float64, by a plain loop."""
    query = vector / np.linalg.norm(vector.astype(np.float64))
    scored = [
        (-float(query @ (given / np.linalg.norm(given))), entry.id)
        for entry in collection.entries.values()
        if all(meets(entry) for _, meets in stated)
        for given in (entry.vectors["text"].astype(np.float64),)
    ]
    return [(one, -score) for score, one in sorted(scored)[:k]]


@pytest.mark.parametrize("kind", ["collection", "graph_collection"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_same_filter_finds_the_same_as_a_plain_loop(
    kind: str, data: st.DataObject, collection: Collection, graph_collection: Collection
) -> None:
    used = collection if kind == "collection" else graph_collection
    stated = data.draw(st.lists(_STATED, max_size=3))
    k = data.draw(st.sampled_from((1, 10, 50)))
    chance = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    vector = chance.standard_normal(DIMENSIONS).astype(np.float32)

    hits = used.snapshot.search(Query(near={"text": vector}, conditions=[one for one, _ in stated], k=k))

    truth = _reference(used, vector, stated, k)
    assert [hit.id for hit in hits] == [one for one, _ in truth]
    np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in truth], atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_page_by_words_is_the_beginning_of_all_that_have_them(data: st.DataObject, collection: Collection) -> None:
    texts = [*TAGS, *(entry.texts["title"][0] for entry in list(collection.entries.values())[:50])]
    asked = " ".join(data.draw(st.lists(st.sampled_from(texts), min_size=1, max_size=4)))
    conditions = [one for one, _ in data.draw(st.lists(_STATED, max_size=2))]
    k = data.draw(st.sampled_from((1, 3, 20)))
    everything = collection.snapshot.search(Query(text=asked, conditions=conditions, k=K_MAX))

    page = collection.snapshot.search(Query(text=asked, conditions=conditions, k=k, depth=1))

    assert page == everything[:k]


def test_a_filter_far_from_the_query_is_searched_to_the_end(graph_collection: Collection) -> None:
    snapshot = graph_collection.snapshot
    far = sorted(graph_collection.entries, key=lambda one: float(graph_collection.entries[one].vectors["text"][0]))
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[0] = 1
    conditions = [Excluding(far[200:])]

    hits = snapshot.search(Query(near={"text": vector}, conditions=conditions, k=200))

    assert {hit.id for hit in hits} == set(far[:200])


def test_a_standardised_space_weighs_all_dimensions_alike(collection: Collection) -> None:
    entries = [entry for entry in collection.entries.values() if "audio" in entry.vectors]
    every = np.stack([entry.vectors["audio"].astype(np.float64) for entry in entries])
    scaled = (every - every.mean(axis=0)) / every.std(axis=0)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    truth = [entries[row].id for row in np.argsort(-(scaled @ scaled[7]))[:10]]

    hits = collection.snapshot.search(Query(near={"audio": entries[7].vectors["audio"]}))

    assert [hit.id for hit in hits] == truth
    (unit,) = collection.snapshot.vectors([entries[7].id], "audio")
    np.testing.assert_allclose(unit, scaled[7], atol=1e-5)
    (original,) = collection.snapshot.originals([entries[7].id], "audio")
    np.testing.assert_array_equal(original, entries[7].vectors["audio"])


def test_an_entry_comes_back_as_it_went_in(collection: Collection) -> None:
    given = collection.entries["entry-00042"]

    entry = collection.snapshot.entry("entry-00042")

    assert entry.texts == given.texts
    assert entry.attributes == {name: value for name, value in given.attributes.items() if value is not None}
    vector = given.vectors["text"]
    np.testing.assert_allclose(entry.vectors["text"], vector / np.linalg.norm(vector), atol=1e-6)


def _ranks(hits: Sequence[Hit], name: str) -> list[int]:
    return [hit.parts[name].rank for hit in hits if name in hit.parts]


def test_a_hybrid_hit_says_where_each_part_ranked_it_and_which_words_it_has(collection: Collection) -> None:
    given = collection.entries["entry-00007"]
    query = Query(text=given.texts["title"][0], near={"text": given.vectors["text"]}, k=200)

    hits = collection.snapshot.search(query)

    assert hits[0].id == given.id
    assert hits[0].parts["text"].rank == 1
    first = matched(collection.snapshot, hits[0])
    assert first[0].field == "title"
    assert {match.term for match in first if match.field == "title"} == set(given.texts["title"][0].split())
    for hit in hits:
        assert hit.score == pytest.approx(sum(1 / (60 + part.rank) for part in hit.parts.values()))
        assert bool(matched(collection.snapshot, hit)) == (WORDS in hit.parts) or hit.parts.keys() == {"text"}
    assert sorted(_ranks(hits, "text")) == sorted(set(_ranks(hits, "text")))


def test_pages_of_one_ranking_follow_each_other(collection: Collection) -> None:
    vector = collection.entries["entry-00003"].vectors["text"]
    query = {"text": "naruto bebop moshalin", "near": {"text": vector}}

    every = collection.snapshot.search(Query(**query, k=150))  # type: ignore[arg-type]

    for k in (1, 10, 77):
        assert collection.snapshot.search(Query(**query, k=k)) == every[:k]  # type: ignore[arg-type]


@pytest.mark.parametrize(("query", "says"), REFUSED)
def test_a_query_that_cannot_be_is_refused_in_words(collection: Collection, query: Query, says: str) -> None:
    with pytest.raises(InvalidQuery, match=says):
        collection.snapshot.search(query)


@pytest.mark.parametrize("one", ["nobody", "", "\udc80", "'; DROP TABLE entries; --"])
def test_an_unknown_id_is_refused_in_words(collection: Collection, one: str) -> None:
    with pytest.raises(UnknownEntry):
        collection.snapshot.entry(one)
    assert collection.snapshot.search(Query(text="naruto", conditions=[Excluding([one])])) is not None


def test_an_entry_without_a_vector_is_never_near(collection: Collection) -> None:
    silent = {entry.id for entry in collection.entries.values() if "audio" not in entry.vectors}
    hits = collection.snapshot.search(Query(near={"audio": np.ones(5, np.float32)}, k=K_MAX))

    assert {hit.id for hit in hits} == set(collection.entries) - silent
    with pytest.raises(UnknownEntry, match="no vector"):
        collection.snapshot.vectors([min(silent)], "audio")


def test_threads_share_a_snapshot(collection: Collection) -> None:
    entries = list(collection.entries.values())[:40]
    queries = [Query(text=entry.texts["title"][0], near={"text": entry.vectors["text"]}) for entry in entries]
    alone = [collection.snapshot.search(query) for query in queries]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(collection.snapshot.search, queries * 5))

    assert together == alone * 5
