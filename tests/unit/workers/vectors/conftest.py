"""Collections shared by the tests: generated, never recorded."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.vectors.engine import Index
from workers.vectors.filters import Between, HasAny
from workers.vectors.lexical import Match, matches
from workers.vectors.query import K_MAX, Hit, Query
from workers.vectors.schema import Entry, Field, Kind, Schema, Space
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot
from workers.vectors.targets import Target

Floats = NDArray[np.float32]

DIMENSIONS = 16
SCHEMA = Schema(
    spaces={"text": Space(dimensions=DIMENSIONS), "audio": Space(dimensions=5, is_standardised=True)},
    columns={"year": Kind.NUMBER, "score": Kind.NUMBER, "type": Kind.LABELS, "tags": Kind.LABELS},
    fields={
        "title": Field(weight=10, corrects_typos=True),
        "synonyms": Field(weight=6, corrects_typos=True),
        "tags": Field(weight=2),
    },
)
TAGS = ("Action", "comedy", "space opera", "café", "slice of life", "mecha", "rare")
TYPES = ("TV", "Movie", "OVA")
SYLLABLES = ("na", "ru", "to", "be", "bop", "ki", "mo", "sha", "lin", "gar", "den", "zo", "fi", "ra", "tsu", "wen")

REFUSED: Sequence[tuple[Query, str]] = (
    (Query(), "looks for nothing"),
    (Query(near={"picture": np.ones(3, np.float32)}), "no space 'picture'"),
    (Query(near={"text": np.ones(3, np.float32)}), r"shape \(3,\), not \(16,\)"),
    (Query(near={"text": np.zeros(DIMENSIONS, np.float32)}), "zero or not finite"),
    (Query(near={"text": np.full(DIMENSIONS, np.nan, np.float32)}), "zero or not finite"),
    (Query(text="x", k=0), "k is 0"),
    (Query(text="x", k=K_MAX + 1), "1 to 10000"),
    (Query(text="x", conditions=[Between("tags", 0, 1)]), "no column of numbers 'tags'"),
    (Query(text="x", conditions=[HasAny("year", ["a"])]), "no column of labels 'year'"),
    (Query(text="x", conditions=[Between("year", math.nan, 1)]), "not a number"),
    (Query(targets={"tags": Target(1)}), "no column of numbers 'tags'"),
    (Query(targets={"year": Target(math.nan)}), "Nothing can be near"),
)
"""Queries that no engine takes, and what is said of them."""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """A published snapshot and what was put into it."""

    snapshot: Snapshot
    entries: Mapping[str, Entry]


def matched(index: Index, hit: Hit) -> tuple[Match, ...]:
    """Return which words of the query a hit has, as whoever shows it finds out."""
    return matches(hit.asked, index.entry(hit.id).texts, index.schema)


def made_entries(count: int, seed: int = 1, prefix: str = "entry") -> list[Entry]:
    """Return entries of a dozen clusters, with attributes and titles; some lack some of it."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((12, DIMENSIONS))
    return [_made(chance, centres, f"{prefix}-{number:05d}") for number in range(count)]


def _made(chance: np.random.Generator, centres: NDArray[np.float64], name: str) -> Entry:
    vectors = {"text": centres[chance.integers(12)] + 0.4 * chance.standard_normal(DIMENSIONS)}
    if chance.random() < 0.7:
        vectors["audio"] = chance.standard_normal(5) * (1, 10, 100, 0.1, 1) + 3
    tags = [tag for tag in TAGS[:-1] if chance.random() < 0.4] + (["rare"] if chance.random() < 0.01 else [])
    return Entry(
        id=name,
        vectors={space: vector.astype(np.float32) for space, vector in vectors.items()},
        texts={"title": [title(chance)], "synonyms": [title(chance)], "tags": tags},
        attributes={
            "year": int(chance.integers(1960, 2027)) if chance.random() < 0.9 else None,
            "score": round(float(chance.random()) * 10, 2),
            "type": TYPES[chance.integers(3)],
            "tags": tags,
        },
    )


def title(chance: np.random.Generator) -> str:
    return " ".join("".join(chance.choice(SYLLABLES, chance.integers(2, 5))) for _ in range(chance.integers(1, 4)))


def publish(folder: Path, entries: Sequence[Entry], *, base: str | None = None, removed: Sequence[str] = ()) -> str:
    with Shelf(folder).building(SCHEMA, base=base) as build:
        for one in removed:
            build.remove(one)
        for entry in entries:
            build.put(entry)
        return build.publish()


@pytest.fixture(scope="package")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """Three thousand entries, compared one by one, by way of their coarse copies."""
    folder, entries = tmp_path_factory.mktemp("collection"), made_entries(3000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.vectors.space.WIDE", 1)
        patch.setattr("workers.vectors.exact.FEW", 100)
        with Shelf(folder).open(publish(folder, entries)) as snapshot:
            assert (folder / snapshot.name / "space.text.coarse.bin").exists()
            yield Collection(snapshot=snapshot, entries={entry.id: entry for entry in entries})
