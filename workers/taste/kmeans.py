"""Dividing vectors of unit length into groups: spherical k-means (Dhillon and Modha, 2001)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.vectors.embedding import Floats, unit

Labels = NDArray[np.int64]

BATCHED_FROM = 20_000  # vectors; above, each step looks at a part of them (Sculley, 2010)
_BATCH = 4_096
_BATCHES = 50
_STEPS_MAX = 60  # over all vectors; most divisions stand still after 20
_STEPS_AFTER_BATCHES = 3
_STARTS = 4  # of which the best is taken
_BEGUN_WITH = 10_000  # vectors
_BLOCK = 16_384  # rows compared at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Division:
    """Vectors in groups, each with a middle."""

    # of unit length, shape (groups, dimensions)
    middles: Floats
    # the group of each vector, shape (vectors,)
    labels: Labels
    # cosine of each vector with the middle of its group, shape (vectors,)
    cosines: Floats

    @property
    def cohesion(self) -> float:
        """The mean cosine with one's middle, which a division seeks to raise."""
        return float(self.cosines.mean())


def divide(vectors: Floats, k: int, *, seed: int = 0) -> Division:
    """Return the best of a few divisions into k groups, none of them empty; always the same for the same seed.

    Args:
        vectors: of unit length, shape (vectors, dimensions), more than k.
    """
    chance = np.random.default_rng((seed, k))
    if len(vectors) <= BATCHED_FROM:
        return _best(vectors, k, chance)
    # Bad seeds are never mended by small steps, so these begin where the best division of a part ends.
    part = vectors[np.sort(chance.choice(len(vectors), _BEGUN_WITH, replace=False))]
    return _settled(vectors, _in_batches(vectors, _best(part, k, chance).middles, chance), _STEPS_AFTER_BATCHES)


def _best(vectors: Floats, k: int, chance: np.random.Generator) -> Division:
    starts = (_settled(vectors, _seeds(vectors, k, chance), _STEPS_MAX) for _ in range(_STARTS))
    return max(starts, key=lambda one: one.cohesion)


def assign(vectors: Floats, middles: Floats) -> tuple[Labels, Floats]:
    """Return the nearest middle of each vector, and the cosine with it."""
    labels, cosines = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ middles.T
        nearest = block.argmax(axis=1)
        labels[start : start + _BLOCK] = nearest
        cosines[start : start + _BLOCK] = block[np.arange(len(block)), nearest]
    return labels, cosines


def _seeds(vectors: Floats, k: int, chance: np.random.Generator) -> Floats:
    """Return k vectors that are far from each other: k-means++ with several candidates for each (2007)."""
    chosen = [int(chance.integers(len(vectors)))]
    apart = _apart(vectors, chosen)
    for _ in range(1, k):
        total = float(apart.sum())
        shares = apart / total if total > 0 else np.full(len(vectors), 1 / len(vectors))
        candidates = chance.choice(len(vectors), 2 + int(np.log(k)), p=shares)
        left = np.minimum(apart, np.stack([_apart(vectors, [int(one)]) for one in candidates]))
        best = int(left.sum(axis=1).argmin())
        chosen.append(int(candidates[best]))
        apart = left[best]
    return np.array(vectors[chosen])


def _apart(vectors: Floats, chosen: list[int]) -> NDArray[np.float64]:
    """Return how far each vector is from the nearest of some: 1 less the cosine, half of the squared distance."""
    nearest = (vectors @ vectors[chosen].T).max(axis=1)
    return np.asarray(np.maximum(1.0 - nearest, 0.0), np.float64)


def _settled(vectors: Floats, middles: Floats, steps: int) -> Division:
    """Move each middle to the mean of its vectors until nothing changes."""
    labels, cosines = assign(vectors, middles)
    for _ in range(steps):
        middles = _means(vectors, labels, cosines, len(middles))
        before = labels
        labels, cosines = assign(vectors, middles)
        if np.array_equal(labels, before):
            break
    while (empty := np.flatnonzero(np.bincount(labels, minlength=len(middles)) == 0)).size:
        # Equal vectors leave a middle without any: it takes the vector that fits worst elsewhere.
        worst = int(np.where(np.bincount(labels, minlength=len(middles))[labels] > 1, cosines, np.inf).argmin())
        labels[worst], cosines[worst] = empty[0], 1.0
        middles = np.array(middles)
        middles[empty[0]] = vectors[worst]
    return Division(middles=middles, labels=labels, cosines=cosines)


def _means(vectors: Floats, labels: Labels, cosines: Floats, k: int) -> Floats:
    sums = np.zeros((k, vectors.shape[1]))
    for start in range(0, len(vectors), _BLOCK):
        own = labels[start : start + _BLOCK]
        block = np.asarray(vectors[start : start + _BLOCK], np.float64)
        order = np.argsort(own, kind="stable")
        present, first = np.unique(own[order], return_index=True)
        sums[present] += np.add.reduceat(block[order], first, axis=0)
    middles = unit(sums)
    lost = np.flatnonzero(~middles.any(axis=1))
    middles[lost] = vectors[np.argsort(cosines, kind="stable")[: len(lost)]]
    return middles


def _in_batches(vectors: Floats, middles: Floats, chance: np.random.Generator) -> Floats:
    """Move the middles towards the means of small parts, ever less the more each has seen."""
    moved = np.array(middles, np.float64)
    counts = np.zeros(len(middles))
    for _ in range(_BATCHES):
        batch = vectors[np.sort(chance.choice(len(vectors), _BATCH, replace=False))]
        labels, _ = assign(batch, np.asarray(moved, np.float32))
        for group in np.unique(labels):
            own = batch[labels == group]
            counts[group] += len(own)
            moved[group] += (own.mean(axis=0) - moved[group]) * len(own) / counts[group]
        moved = np.asarray(unit(moved), np.float64)
    return np.asarray(moved, np.float32)
