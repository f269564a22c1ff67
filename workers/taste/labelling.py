"""What to call a group of entries: the tags that it has more often than all, the features in which it stands out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from workers.taste.collection import Collection
from workers.vectors.nearest import Rows

SAMPLE = 1_000  # entries of a group whose tags are counted
_SHARE_MIN = 0.15  # of a group must have a tag
_LIFT_MIN = 1.3
_TAGS_MAX = 5
_STANDS_OUT = 0.5  # deviations of the whole collection
_WORDS_MAX = 3

WORDS: Mapping[str, tuple[str, str]] = {
    "tempo": ("slow", "fast"),
    "energy": ("calm", "energetic"),
    "valence": ("sombre", "cheerful"),
    "danceability": ("hardly danceable", "danceable"),
    "acousticness": ("electric", "acoustic"),
    "instrumentalness": ("sung", "instrumental"),
    "speechiness": ("few words", "spoken"),
    "loudness": ("quiet", "loud"),
    "mode": ("minor", "major"),
    "duration": ("short", "long"),
    "year": ("older", "recent"),
    "episodes": ("few episodes", "many episodes"),
}
"""What a number that is low or high in a group is called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """What a group is called, and why."""

    label: str
    # as they are written, the most telling first
    tags: Sequence[str]
    # column -> mean over the group
    features: Mapping[str, float]


def name_group(collection: Collection, rows: Rows, ids: Sequence[str]) -> Naming:
    """Return the name of a group of entries, by their rows and a sample of at most `SAMPLE` of their ids."""
    tags = _tags(collection, ids)
    features, words = _features(collection, rows)
    parts = [*words, *tags[: max(1, _WORDS_MAX - len(words))]] if words else tags[:_WORDS_MAX]
    return Naming(label=", ".join(parts) or "mixed", tags=tags, features=features)


def _tags(collection: Collection, ids: Sequence[str]) -> list[str]:
    collection.read(ids)
    written: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for one in ids:
        own = collection.tags(one)
        written |= own
        counts.update(own.keys())
    worths = {}
    for tag, count in counts.items():
        share = count / len(ids)
        if share >= _SHARE_MIN:
            lift = share / max(collection.share(tag), 1e-9)
            if lift >= _LIFT_MIN:
                worths[tag] = share * log(lift)
    return [written[tag] for tag in sorted(worths, key=lambda tag: (-worths[tag], tag))[:_TAGS_MAX]]


def _features(collection: Collection, rows: Rows) -> tuple[dict[str, float], list[str]]:
    """Return the mean of each number over a group, and words for those that are unlike the whole collection's."""
    means: dict[str, float] = {}
    apart: dict[str, float] = {}
    for column in WORDS:
        if not collection.has_number(column):
            continue
        every = collection.snapshot.numbers(column)
        own, known = every[rows], every[np.isfinite(every)]
        own = own[np.isfinite(own)]
        # Where only a few have a number, it says nothing of the group.
        if 2 * len(own) < len(rows):
            continue
        means[column] = round(float(own.mean()), 4)
        deviation = float(known.std())
        if deviation > 0:
            apart[column] = (means[column] - float(known.mean())) / deviation
    striking = sorted((one for one in apart if abs(apart[one]) >= _STANDS_OUT), key=lambda one: -abs(apart[one]))
    return means, [WORDS[one][apart[one] > 0] for one in striking[:_WORDS_MAX]]
