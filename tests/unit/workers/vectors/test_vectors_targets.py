"""Nearness in named numbers is what a plain loop over all entries says; pages of any ranking fit together."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.vectors.errors import InvalidQuery
from workers.vectors.filters import Between
from workers.vectors.query import FEATURES, WORDS, Query
from workers.vectors.schema import Entry, Field, Kind, Schema, Space
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot
from workers.vectors.targets import Scale, Target

from .conftest import DIMENSIONS, Collection

SCHEMA = Schema(
    spaces={"audio": Space(dimensions=4)},
    columns={"tempo": Kind.NUMBER, "energy": Kind.NUMBER, "key": Kind.NUMBER, "tags": Kind.LABELS},
    fields={"title": Field(weight=1)},
)
SCALES = {"tempo": Scale.OCTAVES, "energy": Scale.LINEAR, "key": Scale.FIFTHS}
FIFTHS = (0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10, 5)  # around the circle: C, G, D ...


def _tracks(count: int, seed: int) -> list[Entry]:
    chance = np.random.default_rng(seed)
    return [
        Entry(
            id=f"track-{number:04d}",
            vectors={"audio": chance.standard_normal(4).astype(np.float32)},
            texts={"title": ["song"]},
            attributes={
                # coarse, so that equals occur
                "tempo": float(chance.integers(60, 200)) if chance.random() < 0.9 else None,
                "energy": round(float(chance.random()), 1) if chance.random() < 0.9 else None,
                "key": int(chance.integers(12)) if chance.random() < 0.9 else None,
            },
        )
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Snapshot, Sequence[Entry]]]:
    """Three hundred tracks, a third of them put in again under other numbers, and some taken out."""
    shelf = Shelf(tmp_path_factory.mktemp("tracks"))
    former, later = _tracks(300, seed=1), _tracks(100, seed=2)
    with shelf.building(SCHEMA) as build:
        for entry in former:
            build.put(entry)
        first = build.publish()
    with shelf.building(SCHEMA, base=first) as build:
        for entry in later:
            build.put(entry)
        for entry in former[100:150]:
            build.remove(entry.id)
        name = build.publish()
    with shelf.open(name) as snapshot:
        yield snapshot, [*later, *former[150:]]


def _place(value: float, scale: Scale) -> float:
    return math.log2(value) if scale is Scale.OCTAVES else value


def _apart(value: float, wish: float, scale: Scale) -> float:
    if scale is Scale.FIFTHS:
        steps = abs(FIFTHS.index(int(value)) - FIFTHS.index(int(wish)))
        return min(steps, 12 - steps)
    return abs(_place(value, scale) - _place(wish, scale))


def _unit(entries: Sequence[Entry], column: str) -> float:
    if SCALES[column] is Scale.FIFTHS:
        return math.sqrt(sum(_apart(0, key, Scale.FIFTHS) ** 2 for key in range(12)) / 12)
    places = [_place(value, SCALES[column]) for entry in entries if (value := _number(entry, column)) is not None]
    mean = sum(places) / len(places)
    return math.sqrt(sum((place - mean) ** 2 for place in places) / len(places))


def _number(entry: Entry, column: str) -> float | None:
    value = entry.attributes.get(column)
    return float(value) if isinstance(value, int | float) else None


def _reference(entries: Sequence[Entry], wishes: Mapping[str, float]) -> dict[str, float]:
    """Return the score of every entry that has all the numbers, by a plain loop."""
    scores = {}
    for entry in entries:
        numbers = {column: _number(entry, column) for column in wishes}
        if None in numbers.values():
            continue
        squares = [
            (_apart(number, wishes[column], SCALES[column]) / _unit(entries, column)) ** 2
            for column, number in numbers.items()
            if number is not None
        ]
        scores[entry.id] = math.exp(-math.sqrt(sum(squares) / len(squares)))
    return scores


@settings(max_examples=100, deadline=None)
@given(
    wishes=st.fixed_dictionaries(
        {},
        optional={"tempo": st.floats(20, 300), "energy": st.floats(-1, 2), "key": st.integers(0, 11).map(float)},
    ).filter(bool),
    k=st.sampled_from((1, 10, 300)),
)
def test_the_nearest_to_some_numbers_are_those_of_a_plain_loop(
    tracks: tuple[Snapshot, Sequence[Entry]], wishes: dict[str, float], k: int
) -> None:
    snapshot, entries = tracks
    targets = {column: Target(value, SCALES[column]) for column, value in wishes.items()}

    hits = snapshot.search(Query(targets=targets, k=k))

    truth = _reference(entries, wishes)
    assert len(hits) == min(k, len(truth))
    np.testing.assert_allclose([hit.score for hit in hits], sorted(truth.values(), reverse=True)[:k], atol=1e-6)
    np.testing.assert_allclose([hit.score for hit in hits], [truth[hit.id] for hit in hits], atol=1e-6)
    assert [hit.parts[FEATURES].rank for hit in hits] == list(range(1, len(hits) + 1))


def test_a_filter_narrows_the_nearest_down(tracks: tuple[Snapshot, Sequence[Entry]]) -> None:
    snapshot, entries = tracks
    few = [entry for entry in entries if (_number(entry, "energy") or 0) >= 0.8]
    hits = snapshot.search(Query(targets={"tempo": Target(120)}, conditions=[Between("energy", 0.8)], k=300))
    assert {hit.id for hit in hits} == {entry.id for entry in few if _number(entry, "tempo") is not None}


def test_targets_join_other_rankings(tracks: tuple[Snapshot, Sequence[Entry]]) -> None:
    snapshot, _ = tracks
    query = Query(text="song", near={"audio": np.ones(4, np.float32)}, targets={"energy": Target(0.5)}, k=300)
    assert {tuple(sorted(hit.parts)) for hit in snapshot.search(query)} >= {("audio", FEATURES, WORDS)}


def test_differences_are_told_in_deviations(tracks: tuple[Snapshot, Sequence[Entry]]) -> None:
    snapshot, entries = tracks
    targets = {"tempo": Target(120, Scale.OCTAVES), "key": Target(0, Scale.FIFTHS), "energy": Target(0.5)}
    found = snapshot.differences(targets, {"tempo": 60.0, "key": 7, "energy": None})
    assert found == pytest.approx({"tempo": 1 / _unit(entries, "tempo"), "key": 1 / math.sqrt(146 / 12)})


@pytest.mark.parametrize(
    "targets",
    [
        {"tempo": Target(math.nan)},
        {"tempo": Target(0, Scale.OCTAVES)},
        {"tempo": Target(math.inf)},
        {"tags": Target(1)},
        {"unknown": Target(1)},
    ],
    ids=["nan", "no-speed", "infinite", "labels", "unknown"],
)
def test_what_nothing_can_be_near_to_is_refused(
    tracks: tuple[Snapshot, Sequence[Entry]], targets: dict[str, Target]
) -> None:
    with pytest.raises(InvalidQuery):
        tracks[0].search(Query(targets=targets))


def test_a_number_that_is_the_same_everywhere_or_nowhere_tells_nothing_apart(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.building(SCHEMA) as build:
        for name in ("a", "b"):
            build.put(Entry(id=name, attributes={"energy": 0.5}))
        name = build.publish()
    with shelf.open(name) as snapshot:
        assert [hit.score for hit in snapshot.search(Query(targets={"energy": Target(0.5)}))] == [1.0, 1.0]
        assert snapshot.search(Query(targets={"tempo": Target(120, Scale.OCTAVES)})) == []


@pytest.mark.parametrize("kinds", ["near", "text", "both"])
def test_pages_neither_overlap_nor_leave_anything_out(collection: Collection, kinds: str) -> None:
    vector = np.random.default_rng(3).standard_normal(DIMENSIONS).astype(np.float32)
    near = {} if kinds == "text" else {"text": vector}
    text = None if kinds == "near" else "action"
    whole = collection.snapshot.search(Query(near=near, text=text, k=180))
    pages = [
        hit
        for offset in range(0, 180, 45)
        for hit in collection.snapshot.search(Query(near=near, text=text, k=45, offset=offset))
    ]
    assert pages == whole
    assert len(whole) == 180
    with pytest.raises(InvalidQuery):
        collection.snapshot.search(Query(text="action", offset=-1))
