"""Choosing several of many so that they are good and differ: maximal marginal relevance.

Carbonell and Goldstein, SIGIR 1998.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.vectors.embedding import Floats

RELEVANCE_SHARE = 0.7  # the paper's lambda: the rest is for being unlike what was chosen before
KINDS_MIN = 5  # genres among the chosen, where there are so many
NEW_KIND = 0.15  # what a genre that is not there yet is worth beside a relevance of 0 to 1, until there are enough


def choose(relevance: NDArray[np.float64], vectors: Floats, kinds: Sequence[Sequence[int]], count: int) -> list[int]:
    """Return the places of the chosen in the order of their choice, `count` of them or all.

    As long as others are left, none of a genre is taken that has half of the places already; where every candidate is
    of such a genre, the one whose genres are the least crowded goes first.

    Args:
        relevance: shape (candidates,), 0 to 1.
        vectors: of unit length, shape (candidates, dimensions).
        kinds: numbers of the genres of each candidate; none at all is no genre.
    """
    chosen: list[int] = []
    free = np.ones(len(relevance), np.bool_)
    nearest = np.full(len(relevance), -1.0)
    crowd: Counter[int] = Counter()
    membership = _membership(kinds)
    while len(chosen) < min(count, len(relevance)):
        gain = RELEVANCE_SHARE * relevance - (1 - RELEVANCE_SHARE) * (nearest if chosen else 0.0)
        if len(crowd) < KINDS_MIN:
            gain = gain + NEW_KIND * _has_new(membership, crowd)
        best = _best(gain, free, _crowding(membership, crowd, count // 2))
        chosen.append(best)
        free[best] = False
        crowd.update(kinds[best])
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return chosen


def _membership(kinds: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
    """Return which candidate is of which genre, shape (candidates, genres)."""
    found = np.zeros((len(kinds), 1 + max((one for own in kinds for one in own), default=0)), np.bool_)
    for place, own in enumerate(kinds):
        found[place, list(own)] = True
    return found


def _crowding(membership: NDArray[np.bool_], crowd: Counter[int], most: int) -> NDArray[np.int64]:
    """Return by how much the fullest genre of each candidate would be above `most`."""
    over = np.asarray([max(crowd[kind] + 1 - most, 0) for kind in range(membership.shape[1])], np.int64)
    return np.asarray((membership * over).max(axis=1), np.int64)


def _has_new(membership: NDArray[np.bool_], crowd: Counter[int]) -> NDArray[np.bool_]:
    new = np.asarray([kind not in crowd for kind in range(membership.shape[1])], np.bool_)
    return np.asarray((membership & new).any(axis=1), np.bool_)


def _best(gain: NDArray[np.float64], free: NDArray[np.bool_], crowding: NDArray[np.int64]) -> int:
    least = crowding[free].min()
    return int(np.argmax(np.where(free & (crowding == least), gain, -np.inf)))
