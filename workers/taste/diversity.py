"""Choosing several of many so that they are good and differ: maximal marginal relevance.

Carbonell and Goldstein, SIGIR 1998.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.vectors.embedding import Floats

RELEVANCE_SHARE = 0.7  # the paper's lambda: the rest is for being unlike what was chosen before
KINDS_MIN = 5  # genres among twenty, where there are so many
_PLACES_PER_KIND = 4

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


def choose(
    relevance: Numbers, vectors: Floats, kinds: Sequence[Sequence[int]], genres: Sequence[int | None], count: int
) -> list[int]:
    """Return the places of the chosen in the order of their choice, `count` of them or all.

    As long as others are left, none is taken of a kind that has half of the places already; where every candidate is of
    such a kind, the one whose kinds are the least crowded goes first. The last places go to further genres where there
    are not `KINDS_MIN` yet, one in four places at most.

    Args:
        relevance: shape (candidates,), 0 to 1.
        vectors: of unit length, shape (candidates, dimensions).
        kinds: numbers of all that each candidate is.
        genres: the one among them that it is above all; None for none.
    """
    many = min(count, len(relevance))
    wanted = min(KINDS_MIN, -(-count // _PLACES_PER_KIND))
    chosen: list[int] = []
    free = np.ones(len(relevance), np.bool_)
    nearest = np.zeros(len(relevance))
    crowd: Counter[int] = Counter()
    membership = _membership(kinds)
    while len(chosen) < many:
        found = {genres[place] for place in chosen} - {None}
        allowed = free & _is_new(genres, found) if wanted - len(found) >= many - len(chosen) else free
        gain = RELEVANCE_SHARE * relevance - (1 - RELEVANCE_SHARE) * nearest
        best = _best(gain, allowed if allowed.any() else free, _crowding(membership, crowd, count // 2))
        nearest = np.maximum(nearest, vectors @ vectors[best]) if chosen else vectors @ vectors[best]
        chosen.append(best)
        free[best] = False
        crowd.update(kinds[best])
    return chosen


def _membership(kinds: Sequence[Sequence[int]]) -> Flags:
    """Return which candidate is of which kind, shape (candidates, kinds)."""
    found = np.zeros((len(kinds), 1 + max((one for own in kinds for one in own), default=0)), np.bool_)
    for place, own in enumerate(kinds):
        found[place, list(own)] = True
    return found


def _is_new(genres: Sequence[int | None], found: set[int | None]) -> Flags:
    return np.asarray([genre is not None and genre not in found for genre in genres], np.bool_)


def _crowding(membership: Flags, crowd: Counter[int], most: int) -> NDArray[np.int64]:
    """Return by how much the fullest kind of each candidate would be above `most`."""
    over = np.zeros(membership.shape[1], np.int64)
    for kind, count in crowd.items():
        over[kind] = max(count + 1 - most, 0)
    crowded = np.flatnonzero(over)
    return np.asarray((membership[:, crowded] * over[crowded]).max(axis=1, initial=0), np.int64)


def _best(gain: Numbers, allowed: Flags, crowding: NDArray[np.int64]) -> int:
    least = crowding[allowed].min()
    return int(np.argmax(np.where(allowed & (crowding == least), gain, -np.inf)))
