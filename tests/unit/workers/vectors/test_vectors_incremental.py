"""A snapshot made of an earlier one and what changed since finds the same as one made from nothing."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.vectors.filters import Between, Condition, HasAny, HasNone
from workers.vectors.query import Hit, Query
from workers.vectors.schema import Entry
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot

from .conftest import DIMENSIONS, SCHEMA, made_entries, publish

# What happens to an entry, by its number: it comes (in one of two forms), or goes.
CHANGES = st.lists(st.tuples(st.integers(0, 39), st.sampled_from(("one form", "another form", "gone"))), max_size=60)
FORMS = {"one form": made_entries(40, seed=3), "another form": made_entries(40, seed=4)}


def _queries() -> list[Query]:
    chance = np.random.default_rng(8)
    texts = ("naruto", "bebop moshalin", "space opera", "garden zofi rare", "narut")
    filters: Sequence[Sequence[Condition]] = (
        (),
        (Between("year", 1990),),
        (HasAny("tags", ["mecha"]),),
        (HasNone("type", ["TV"]),),
    )
    return [
        Query(text=text, near={"text": chance.standard_normal(DIMENSIONS).astype(np.float32)}, conditions=conditions)
        for text in texts
        for conditions in filters
    ] + [Query(near={"audio": chance.standard_normal(5).astype(np.float32) * 10}, k=40) for _ in range(3)]


QUERIES = _queries()


def _assert_same_answers(one: Snapshot, other: Snapshot) -> None:
    for query in QUERIES:
        hits, others = one.search(query), other.search(query)
        assert [(hit.id, _ranks(hit), hit.asked) for hit in hits] == [
            (hit.id, _ranks(hit), hit.asked) for hit in others
        ]
        # the mean of a standardised space is summed in another order
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], atol=1e-5)

    for filters in ((), (Between("year", 1990),)):
        assert one.matching(filters, 40) == other.matching(filters, 40)
        assert one.highest("year", 40, filters) == other.highest("year", 40, filters)

    for space in ("text", "audio"):
        (rows, vectors), (other_rows, other_vectors) = one.every_vector(space), other.every_vector(space)
        assert one.ids_at(rows) == other.ids_at(other_rows)
        np.testing.assert_allclose(vectors, other_vectors, atol=1e-5)


def _ranks(hit: Hit) -> dict[str, int]:
    return {name: part.rank for name, part in hit.parts.items()}


@settings(max_examples=40, deadline=None)
@given(rounds=st.lists(CHANGES, min_size=1, max_size=3))
def test_changes_give_the_same_as_building_anew(rounds: list[list[tuple[int, str]]]) -> None:
    living: dict[str, Entry] = {}
    with TemporaryDirectory() as folder:
        name: str | None = None
        for changes in rounds:
            with Shelf(Path(folder)).building(SCHEMA, base=name) as build:
                for number, change in changes:
                    one = FORMS["one form"][number].id
                    if change == "gone":
                        living.pop(one, None)
                        build.remove(one)
                    else:
                        living[one] = FORMS[change][number]
                        build.put(living[one])
                name = build.publish()
        assert name is not None
        with Shelf(Path(folder)).open(name) as changed:
            anew = publish(Path(folder), sorted(living.values(), key=lambda entry: entry.id))
            with Shelf(Path(folder)).open(anew) as fresh:
                assert sorted(changed.ids()) == sorted(fresh.ids()) == sorted(living)
                _assert_same_answers(changed, fresh)


def test_of_very_many_corrections_the_same_are_taken_in_whatever_order_words_came(tmp_path: Path) -> None:
    word = "mikazuki"
    alike = [word[:place] + letter + word[place + 1 :] for place in range(8) for letter in "bcdefghjlnopqrstvwxy"]
    entries = [Entry(id=one, texts={"title": [one]}) for one in alike]
    with (
        Shelf(tmp_path).open(publish(tmp_path, entries)) as one,
        Shelf(tmp_path).open(publish(tmp_path, entries[::-1])) as other,
    ):
        found, others = (snapshot.search(Query(text=word)) for snapshot in (one, other))

    assert found
    assert [hit.id for hit in found] == [hit.id for hit in others]


def test_a_graph_lives_on_through_small_changes_and_is_made_anew_after_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.vectors.space.SCANNED_ROWS_MAX", 500)
    monkeypatch.setattr("workers.vectors.space._LATER_MAX", 100)
    # wide enough to miss nothing among so few, so that answers can be compared to the last rank
    monkeypatch.setattr("workers.vectors.space.EXPANSIONS_SEARCH", (4096,))
    entries, later = made_entries(1000), made_entries(80, seed=5, prefix="later")
    shelf, first = Shelf(tmp_path), publish(tmp_path, entries)
    removed = [entry.id for entry in entries[:30]]

    small = publish(tmp_path, later, base=first, removed=removed)
    large = publish(tmp_path, made_entries(60, seed=6, prefix="more"), base=small)

    rows = []
    for name in (first, small, large):
        with shelf.open(name) as snapshot:
            graph = snapshot.manifest.spaces["text"].graph
            assert graph is not None
            rows.append(graph.rows)
    assert rows == [1000, 1000, 1140]
    with shelf.open(small) as changed, shelf.open(publish(tmp_path, [*entries[30:], *later])) as fresh:
        assert changed.manifest.spaces["text"].recall >= 0.97
        _assert_same_answers(changed, fresh)
        query = Query(near={"text": later[0].vectors["text"]})
        assert changed.search(query)[0].id == later[0].id


def test_a_snapshot_of_mostly_removed_entries_is_packed(tmp_path: Path) -> None:
    entries, shelf = made_entries(400), Shelf(tmp_path)
    first = publish(tmp_path, entries)
    sparse = publish(tmp_path, [], base=first, removed=[entry.id for entry in entries[:300]])

    packed = publish(tmp_path, [], base=sparse)

    with shelf.open(sparse) as before, shelf.open(packed) as after:
        assert (before.manifest.rows, after.manifest.rows) == (400, 100)
        _assert_same_answers(before, after)


def test_the_last_word_on_an_entry_counts(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.building(SCHEMA) as build:
        for word in ("first", "second", "third"):
            build.put(Entry(id="one", texts={"title": [word]}))
        build.put(Entry(id="two", texts={"title": ["gone"]}))
        build.remove("two")
        build.remove("nobody")
        name = build.publish()

    with shelf.open(name) as snapshot:
        assert [hit.id for hit in snapshot.search(Query(text="third"))] == ["one"]
        assert snapshot.search(Query(text="first gone")) == []


def test_the_provenance_stays_with_the_snapshot(tmp_path: Path) -> None:
    with Shelf(tmp_path).building(SCHEMA, provenance={"embedder": "a/1"}) as build:
        name = build.publish()

    with Shelf(tmp_path).open(name) as snapshot:
        assert snapshot.manifest.provenance == {"embedder": "a/1"}


def test_a_graph_that_finds_too_little_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.vectors.space.SCANNED_ROWS_MAX", 100)
    monkeypatch.setattr("workers.vectors.space.ENOUGH", 1.01)
    entries = made_entries(300)

    name = publish(tmp_path, entries)

    assert not (tmp_path / name / "space.text.usearch").exists()
    with Shelf(tmp_path).open(name) as snapshot:
        assert snapshot.manifest.spaces["text"].graph is None
        assert snapshot.search(Query(near={"text": entries[7].vectors["text"]}))[0].id == entries[7].id


def test_thousands_of_equal_vectors_are_found_by_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.vectors.space.SCANNED_ROWS_MAX", 1000)
    same = np.ones(DIMENSIONS, np.float32)
    entries = [Entry(id=f"{number:05d}", vectors={"text": same}) for number in range(2500)]

    with Shelf(tmp_path).open(publish(tmp_path, entries)) as snapshot:
        hits = snapshot.search(Query(near={"text": same}, k=20))

    assert len({hit.id for hit in hits}) == 20
    assert all(hit.score == pytest.approx(1) for hit in hits)
