"""Search by meaning and by words together finds more of what was meant than either alone."""

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from workers.models import build, runtime
from workers.vectors.embedders.minilm import DIMENSIONS, MiniLm
from workers.vectors.query import Query
from workers.vectors.recipes import MODEL, RECIPES, TOKENIZER
from workers.vectors.schema import Entry, Field, Schema, Space
from workers.vectors.shelf import Shelf

from .conftest import SYLLABLES

SCHEMA = Schema(
    spaces={"text": Space(dimensions=DIMENSIONS)},
    fields={
        "title": Field(weight=10, corrects_typos=True),
        "synonyms": Field(weight=6, corrects_typos=True),
        "tags": Field(weight=2),
    },
)
# the tags of ten entries each, and what they mean in other words
THEMES = {
    ("mecha", "robots"): "giant machines piloted by teenagers",
    ("baseball", "sports"): "players swinging bats in a stadium",
    ("cooking", "food"): "a chef prepares delicious meals",
    ("pirates", "ships"): "sailors hunting for treasure at sea",
    ("vampires", "horror"): "undead creatures who drink blood",
    ("detective", "mystery"): "somebody solves murders and crimes",
    ("idols", "music"): "girls singing on a stage",
    ("space", "aliens"): "travelling between planets and stars",
    ("samurai", "history"): "warriors with swords in feudal Japan",
    ("romance", "school"): "two students fall in love in class",
}
PER_THEME = 10
RANKS = 10


def _named(chance: random.Random) -> str:
    return "".join(chance.choices(SYLLABLES, k=3)) + " " + "".join(chance.choices(SYLLABLES, k=4))


def _mistyped(name: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(name) // 2)
    return name[:place] + name[place + 1] + name[place] + name[place + 2 :]


def _gain(found: list[str], relevant: set[str]) -> float:
    """Return nDCG@10, each relevant entry worth the same."""
    gain = sum(1 / np.log2(rank + 2) for rank, one in enumerate(found[:RANKS]) if one in relevant)
    return float(gain / sum(1 / np.log2(rank + 2) for rank in range(min(RANKS, len(relevant)))))


def _catalogue(chance: random.Random) -> tuple[list[Entry], dict[str, set[str]]]:
    """Return entries, and for each query what it means: a theme in other words, a mistyped title, a synonym."""
    entries, meant = [], dict[str, set[str]]()
    for tags, paraphrase in THEMES.items():
        meant[paraphrase] = set()
        for number in range(PER_THEME):
            one, title, synonym = f"{tags[0]}-{number}", _named(chance), _named(chance)
            entries.append(Entry(id=one, texts={"title": [title], "synonyms": [synonym], "tags": tags}))
            meant[paraphrase].add(one)
            if number < 2:
                meant |= {_mistyped(title, chance): {one}, synonym: {one}}
    return entries, meant


@pytest.fixture(scope="module")
def model() -> MiniLm:
    if not (runtime.is_installed(MODEL) and runtime.is_installed(TOKENIZER)):
        list(build.build(runtime.models_folder(), RECIPES))
    return MiniLm()


def test_hybrid_search_is_better_than_both_of_its_parts(model: MiniLm, tmp_path: Path) -> None:
    entries, meant = _catalogue(random.Random(6))
    vectors = model.embed_documents([" ".join((*one.texts["title"], *one.texts["tags"])) for one in entries])
    with Shelf(tmp_path).building(SCHEMA) as catalogue:
        for entry, vector in zip(entries, vectors, strict=True):
            catalogue.put(Entry(id=entry.id, texts=entry.texts, vectors={"text": vector}))
        name = catalogue.publish()

    gains: dict[str, list[float]] = {"words": [], "meaning": [], "both": []}
    with Shelf(tmp_path).open(name) as snapshot:
        for asked, relevant in meant.items():
            near = {"text": model.embed_query(asked)}
            queries: Mapping[str, Query] = {
                "words": Query(text=asked),
                "meaning": Query(near=near),
                "both": Query(text=asked, near=near),
            }
            for kind, query in queries.items():
                gains[kind].append(_gain([hit.id for hit in snapshot.search(query)], relevant))

    means = {kind: float(np.mean(values)) for kind, values in gains.items()}
    assert means["both"] > means["words"] + 0.02, means
    assert means["both"] > means["meaning"] + 0.02, means
    assert means["both"] > 0.85, means
