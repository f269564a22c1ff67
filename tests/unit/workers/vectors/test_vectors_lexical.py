"""Search by words: the weightiest field first, typos forgiven, no query able to harm."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers.vectors.errors import InvalidQuery
from workers.vectors.filters import Between, HasAny
from workers.vectors.lexical import WORDS_MAX
from workers.vectors.nearest import Rows
from workers.vectors.postings import Postings
from workers.vectors.query import NAME, Hit, Query
from workers.vectors.schema import Entry, Schema, Space
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot
from workers.vectors.words import words

from .conftest import SCHEMA, Collection, Floats, matched

SHOWS: Sequence[tuple[str, str, Sequence[str], Sequence[str]]] = (
    ("fma", "Fullmetal Alchemist: Brotherhood", ["Hagane no Renkinjutsushi"], ["magic", "military"]),
    ("bebop", "Cowboy Bebop", ["カウボーイビバップ"], ["space", "jazz"]),
    ("naruto", "Naruto", ["ナルト"], ["ninja"]),
    ("boruto", "Boruto: Naruto Next Generations", [], ["ninja"]),
    ("eva", "Neon Genesis Evangelion", ["Shinseiki Evangelion"], ["mecha"]),
    ("madoka", "魔法少女まどか☆マギカ", ["Puella Magi Madoka Magica"], ["magic", "girls"]),
    ("howl", "Howl's Moving Castle", [], ["magic", "war"]),
    ("monster", "Monster", [], ["mystery"]),
    ("pocket", "Pocket Monsters", ["Pokémon"], ["monster", "adventure"]),
    ("dragon", "Dragon Ball", [], ["fight"]),
    ("one", "One Piece", [], ["pirates", "adventure"]),
    ("space", "Space Dandy", [], ["comedy"]),
)


@pytest.fixture(scope="module")
def shows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    folder = tmp_path_factory.mktemp("shows")
    with Shelf(folder).building(SCHEMA) as build:
        for year, (one, title, synonyms, tags) in enumerate(SHOWS, 2000):
            texts = {"title": [title], "synonyms": synonyms, "tags": tags}
            build.put(Entry(id=one, texts=texts, attributes={"year": year, "tags": tags}))
        name = build.publish()
    with Shelf(folder).open(name) as snapshot:
        yield snapshot


NAMES: Sequence[tuple[str, str, Sequence[str], Sequence[str]]] = (
    *((f"film-{n}", f"Cowboy Bebop {n}", ["Cowboy Bebop"] * 3 + ["Bebop"], ["bebop"]) for n in range(2)),
    ("series", "Cowboy Bebop", ["カウボーイビバップ", "The Adventures of Four People and a Dog"], ["space"]),
    ("other", "カウボーイビバップ", [], ["space"]),
    ("gate", "Steins;Gate", [], []),
    ("gates", "Gate Gate Steins Steins", [], []),
)


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("The Adventures of Four People and a Dog", {"series"}),
        ("カウボーイビバップ", {"series", "other"}),
        ("steins gate", {"gate"}),
        ("SteinsGate", {"gate"}),
        ("stiens gate", {"gate"}),
        ("COWBOY   BEBOP!", {"film-0", "film-1", "series"}),
        ("cowbyo bebop 1", {"film-1"}),
    ],
)
def test_who_is_called_what_is_asked_for_comes_first(tmp_path: Path, asked: str, first: set[str]) -> None:
    with Shelf(tmp_path).building(SCHEMA) as build:
        for one, title, synonyms, tags in NAMES:
            vector = np.full(SCHEMA.spaces["text"].dimensions, 1.0, np.float32)
            build.put(
                Entry(
                    id=one,
                    texts={"title": [title], "synonyms": synonyms, "tags": tags},
                    vectors={"text": vector if one in first else -vector},
                )
            )
        name = build.publish()
    with Shelf(tmp_path).open(name) as snapshot:
        alone = snapshot.search(Query(text=asked))
        beside = snapshot.search(Query(text=asked, near={"text": -vector}))
        pages = [snapshot.search(Query(text=asked, offset=n, k=1)) for n in range(len(alone))]

    assert {hit.id for hit in alone[: len(first)]} == {hit.id for hit in beside[: len(first)]} == first
    assert [hit.score for hit in alone] == sorted((hit.score for hit in alone), reverse=True)
    assert [hit for page in pages for hit in page] == alone
    assert [NAME in hit.parts for hit in beside] == [True] * len(first) + [False] * (len(beside) - len(first))


ALL = 4_000
RARE = 400  # words of which the n-th is in 1 of n + 1 entries, beside two that most have


@pytest.fixture(scope="module")
def frequent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """Words as frequent as in a language: few are in most of the entries, most in few."""
    folder, chance = tmp_path_factory.mktemp("frequent"), np.random.default_rng(3)
    with Shelf(folder).building(SCHEMA) as build:
        for number in range(ALL):
            rare = (f"rare{int(one)}" for one in np.exp(chance.random(3) * math.log(RARE)))
            common = (word for word, share in (("the", 0.7), ("of", 0.5)) if chance.random() < share)
            texts = {"title": [" ".join((*rare, *common))], "tags": ["the"] * int(chance.integers(0, 4))}
            build.put(Entry(id=f"{number:05d}", texts=texts, attributes={"year": 1960 + number % 60}))
        name = build.publish()
    with Shelf(folder).open(name) as snapshot:
        yield snapshot


def _ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.id for hit in hits]


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("naruto", "naruto"),
        ("NARUTO!!", "naruto"),
        ("monster", "monster"),
        ("howls moving castle", "howl"),
        ("Howl’s castle", "howl"),  # noqa: RUF001
        ("pokemon", "pocket"),
        ("まどか", "madoka"),
        ("ビバップ", "bebop"),
        ("renkinjutsushi", "fma"),
        # misspelt
        ("narutto", "naruto"),
        ("nartuo", "naruto"),
        ("evangelon", "eva"),
        ("evengelien", "eva"),
        ("fullmetal alchemst brotherood", "fma"),
        # written apart, written together
        ("full metal alchemist", "fma"),
        ("dragonball", "dragon"),
        ("cowboybebop", "bebop"),
    ],
)
def test_what_was_meant_comes_first(shows: Snapshot, asked: str, first: str) -> None:
    assert _ids(shows.search(Query(text=asked)))[:1] == [first]


@settings(max_examples=200, deadline=None)
@given(
    rare=st.lists(st.integers(0, RARE), max_size=3),
    common=st.lists(st.sampled_from(("the", "of")), max_size=2),
    k=st.integers(1, 20),
    conditions=st.sampled_from(((), (Between("year", 1990),), (Between("year", 1990, 1992),))),
)
def test_the_first_are_the_same_however_few_are_asked_for(
    frequent: Snapshot, rare: list[int], common: list[str], k: int, conditions: Sequence[Between]
) -> None:
    text = " ".join([*common, *(f"rare{number}" for number in rare)])

    few = frequent.search(Query(text=text, conditions=conditions, k=k, depth=k))
    every = frequent.search(Query(text=text, conditions=conditions, k=ALL, depth=ALL))

    assert _ids(few) == _ids(every)[:k]
    np.testing.assert_allclose([hit.score for hit in few], [hit.score for hit in every[:k]], rtol=1e-6)


def test_common_words_are_only_looked_up_where_rare_ones_have_found_enough(
    frequent: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[int] = []
    add_at = Postings.add_at

    def noted(self: Postings, rows: Rows, number: int, scores: Floats) -> None:
        looked_up.append(len(rows))
        add_at(self, rows, number, scores)

    monkeypatch.setattr(Postings, "add_at", noted)

    hits = frequent.search(Query(text="the of rare13", k=3, depth=3))

    assert {match.term for match in matched(frequent, hits[0])} >= {"rare13"}
    assert len(looked_up) == 2
    assert max(looked_up) < ALL / 10


def test_a_word_in_the_title_outweighs_the_same_word_as_a_tag(shows: Snapshot) -> None:
    assert _ids(shows.search(Query(text="space"))) == ["space", "bebop"]


def test_the_matched_words_are_reported_with_what_was_asked(shows: Snapshot) -> None:
    (hit,) = shows.search(Query(text="neon evangelon"))

    found = [(match.term, match.asked, match.field) for match in matched(shows, hit)]
    assert found == [
        ("neon", "neon", "title"),
        ("evangelion", "evangelon", "title"),
        ("evangelion", "evangelon", "synonyms"),
    ]


def test_a_known_word_is_never_corrected(shows: Snapshot) -> None:
    # as a tag it is known, so it does not mean the title that is one letter away
    assert {match.term for hit in shows.search(Query(text="monster")) for match in matched(shows, hit)} == {"monster"}


def test_a_short_word_is_not_corrected(shows: Snapshot) -> None:
    assert shows.search(Query(text="onr")) == []


def test_words_are_found_within_a_filter(shows: Snapshot) -> None:
    assert _ids(shows.search(Query(text="magic", conditions=[Between("year", 2005)]))) == ["howl", "madoka"]
    assert _ids(shows.search(Query(text="magic", conditions=[HasAny("tags", ["WAR"])]))) == ["howl"]
    assert shows.search(Query(text="magic", conditions=[HasAny("tags", ["none"])])) == []


@settings(max_examples=300, deadline=None)
@given(
    asked=st.one_of(
        st.text(max_size=200),
        st.lists(
            st.sampled_from(
                (
                    "naruto",
                    '"',
                    "'",
                    "AND",
                    "OR",
                    "NOT",
                    "NEAR(",
                    ")",
                    "*",
                    "^",
                    ":",
                    "title:",
                    "-",
                    "+",
                    "{",
                    "}",
                    "\0",
                )
            )
        ).map(" ".join),
    )
)
@example(asked="naruto " * 2_000)
@example(asked="x" * 10_000)
@example(asked=" ".join(f"w{number}" for number in range(3_000)))
@example(asked="\x00\x01\x02 naruto")
@example(asked="🎉" * 1_000)
@example(asked="\udc80naruto")
@example(asked="the of and a to")
@example(asked='naruto" OR rowid > 0 --')
@example(asked="'; DROP TABLE words; --")
@example(asked="%_ %s {0} \\")
def test_no_query_is_wrong(shows: Snapshot, asked: str) -> None:
    hits = shows.search(Query(text=asked))

    assert len(hits) <= len(SHOWS)
    assert all(matched(shows, hit) and hit.score > 0 for hit in hits)


def test_only_so_many_words_of_a_query_count(shows: Snapshot) -> None:
    filler = " ".join(f"zz{number}zz" for number in range(WORDS_MAX))

    assert shows.search(Query(text=f"naruto {filler}")) != []
    assert shows.search(Query(text=f"{filler} naruto")) == []


def test_words_are_ranked_as_the_formula_says(collection: Collection) -> None:
    entries = list(collection.entries.values())
    asked = [*entries[5].texts["title"][0].split(), "comedy"]
    counted = [
        [(word, field.weight) for name, field in SCHEMA.fields.items() for word in words(" ".join(one.texts[name]))]
        for one in entries
    ]
    mean = sum(map(len, counted)) / len(entries)
    rows = {term: sum(any(word == term for word, _ in found) for found in counted) for term in asked}
    scores = dict[str, float]()
    for one, found in zip(entries, counted, strict=True):
        weights = {term: sum(weight for word, weight in found if word == term) for term in asked}
        damping = 1.2 * (0.25 + 0.75 * len(found) / mean)
        scores[one.id] = sum(
            math.log(1 + (len(entries) - rows[term] + 0.5) / (rows[term] + 0.5)) * weight * 2.2 / (weight + damping)
            for term, weight in weights.items()
        )
    truth = sorted((one for one in scores if scores[one]), key=lambda one: (-scores[one], one))

    hits = collection.snapshot.search(Query(text=" ".join(asked), k=10_000))

    assert {hit.id for hit in hits} == set(truth)
    np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.id] for hit in hits], rtol=1e-5)
    assert [hit.id for hit in hits][:5] == truth[:5]


def test_a_collection_without_texts_says_so(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with shelf.building(Schema(spaces={"text": Space(dimensions=2)})) as build:
        name = build.publish()

    with shelf.open(name) as snapshot, pytest.raises(InvalidQuery, match="no field of text"):
        snapshot.search(Query(text="naruto"))
