"""What a user likes, as a direction among vectors and as tags."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log

import numpy as np

from workers.taste.collection import Collection
from workers.taste.signs import GOOD, Leaning
from workers.vectors.embedding import Floats, unit
from workers.vectors.words import fold

LIKED_MAX, DISLIKED_MAX = 300, 100  # the strongest; more change little
RECENT = 10  # what was praised last, likeness to which counts by itself

# Rocchio's weights (Salton and Buckley, 1990): what is liked says more than what is not.
_TOWARDS, _AWAY = 0.75, 0.15
_SMOOTHING = 0.01  # of the share of a tag: one item more or less is no lift
_TAGS_MAX = 60  # of a taste
_TAGS_OF_A_MATCH = 5  # so many of the best tags make a full match


@dataclass(frozen=True, kw_only=True, eq=False)
class Preference:
    """The taste of one user."""

    # the strongest first, all with a vector
    liked: Sequence[Leaning]
    # of unit length, shape (liked, dimensions)
    liked_vectors: Floats
    # of unit length, shape (dimensions,); None where nothing is liked
    direction: Floats | None
    # places among the liked of what was praised last, the newest first
    recent: Sequence[int]
    # tag -> what having it is worth, below 0 for what is disliked
    tags: Mapping[str, float]

    @cached_property
    def _full_match(self) -> float:
        return _best_few(worth for worth in self.tags.values() if worth > 0)

    @cached_property
    def _full_mismatch(self) -> float:
        return _best_few(-worth for worth in self.tags.values() if worth < 0)

    def tag_match(self, tags: Iterable[str]) -> float:
        """Return how well tags fit, 0 to 1; where only dislikes are known, how few of those there are."""
        found = sum(self.tags.get(tag, 0.0) for tag in tags)
        if self._full_match:
            return min(max(found / self._full_match, 0.0), 1.0)
        return 1 - min(-found / self._full_mismatch, 1.0) if self._full_mismatch else 0.0


def _best_few(worths: Iterable[float]) -> float:
    return sum(sorted(worths, reverse=True)[:_TAGS_OF_A_MATCH])


def preference(collection: Collection, leanings: Sequence[Leaning], asked_tags: Sequence[str] = ()) -> Preference:
    """Return the taste that leanings speak of; tags that are asked for count as if everything liked had them."""
    liked = [one for one in leanings if one.weight > 0][:LIKED_MAX]
    disliked = [one for one in reversed(leanings) if one.weight < 0][:DISLIKED_MAX]
    worths = _tags(collection, liked, disliked, asked_tags)
    liked, liked_vectors = _with_vectors(collection, liked)
    disliked, disliked_vectors = _with_vectors(collection, disliked)
    return Preference(
        liked=liked,
        liked_vectors=liked_vectors,
        direction=_direction(liked, liked_vectors, disliked, disliked_vectors),
        recent=_recent(liked),
        tags=worths,
    )


def _with_vectors(collection: Collection, leanings: Sequence[Leaning]) -> tuple[list[Leaning], Floats]:
    ids, vectors = collection.vectors([one.sign.item for one in leanings])
    known = set(ids)
    return [one for one in leanings if one.sign.item in known], vectors


def _direction(
    liked: Sequence[Leaning], liked_vectors: Floats, disliked: Sequence[Leaning], disliked_vectors: Floats
) -> Floats | None:
    """Return what is liked less what is not (Rocchio, 1971), each weighed by how much."""
    if not liked:
        return None
    towards = np.average(liked_vectors, axis=0, weights=[one.weight for one in liked])
    if disliked:
        away = np.average(disliked_vectors, axis=0, weights=[-one.weight for one in disliked])
        towards = _TOWARDS * towards - _AWAY * away
    direction = unit(towards)
    # Likings that cancel out point nowhere; the strongest of them does.
    return direction if direction.any() else np.asarray(liked_vectors[0])


def _recent(liked: Sequence[Leaning]) -> list[int]:
    praised = [
        place
        for place, one in enumerate(liked)
        if one.sign.at is not None and (one.sign.score is None or one.sign.score >= GOOD)
    ]
    return sorted(praised, key=lambda place: -liked[place].sign.at.timestamp())[:RECENT]  # type: ignore[union-attr]


def _tags(
    collection: Collection, liked: Sequence[Leaning], disliked: Sequence[Leaning], asked: Sequence[str]
) -> dict[str, float]:
    shares = _shares(collection, liked)
    shares |= dict.fromkeys(map(fold, asked), 1.0)
    worths = {tag: _worth(share, collection.share(tag)) for tag, share in _most(shares)}
    for tag, share in _most(_shares(collection, disliked)):
        worths[tag] = worths.get(tag, 0.0) - _worth(share, collection.share(tag)) / 2
    return worths


def _most(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda one: (-one[1], one[0]))[:_TAGS_MAX]


def _shares(collection: Collection, leanings: Sequence[Leaning]) -> dict[str, float]:
    """Return for each tag the share of some leanings' weight that lies on it."""
    shares: defaultdict[str, float] = defaultdict(float)
    total = sum(abs(one.weight) for one in leanings)
    for one in leanings:
        for tag in collection.tags(one.sign.item):
            shares[tag] += abs(one.weight) / total
    return dict(shares)


def _worth(share: float, everywhere: float) -> float:
    """Return the lift of a tag in logarithms, as far as it is above the collection's, times its share."""
    return share * max(log((share + _SMOOTHING) / (everywhere + _SMOOTHING)), 0.0)
