"""How much of the truth an index finds."""

from dataclasses import dataclass

import numpy as np

from workers.vectors.embedding import Floats, unit
from workers.vectors.nearest import TIE, Mask, Rows, VectorIndex

SAMPLE = 400  # queries: of a graph that loses its way with one in forty, a hundred may show nothing
NEIGHBOURS = 10
ENOUGH = 0.97  # of the true neighbours must be found before a snapshot is published with a graph
AIM = 0.99  # is looked for: queries from afar find less than a sample does

_SHIFT = 0.4  # length of what is added to a vector to make a query of it
_SEED = 20
_BLOCK = 4_096  # rows at a time


def queries_near(vectors: Floats, chosen: Rows, count: int = SAMPLE, seed: int = _SEED) -> Floats:
    """Return unit queries near some of the chosen rows, shape (count, dimensions): near, as those of people are."""
    chance = np.random.default_rng(seed)
    near = vectors[np.sort(chance.choice(chosen, count))]
    noise = unit(chance.standard_normal(near.shape, np.float32))
    return unit(near + np.float32(_SHIFT) * noise)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trial:
    """Queries near some rows, and the truth about their nearest."""

    queries: Floats
    # of each query the scores of its true nearest, best first
    truth: list[Floats]
    # the rows that may be found, all where it is None
    allowed: Mask | None = None

    @classmethod
    def among(cls, vectors: Floats, chosen: Rows, count: int = SAMPLE) -> "Trial":
        """Compare so many queries with every chosen row."""
        allowed = np.zeros(len(vectors), np.bool_)
        allowed[chosen] = True
        queries = queries_near(vectors, chosen, count)
        return cls(queries=queries, truth=_true_scores(vectors, queries, allowed), allowed=allowed)

    def recall(self, index: VectorIndex) -> float:
        """Return the share of the truth that an index finds, 0 to 1; of rows that tie any will do."""
        found = wanted = 0
        for query, true in zip(self.queries, self.truth, strict=True):
            scores = index.search(query, len(true), self.allowed).scores[: len(true)]
            wanted += len(true)
            found += int(np.count_nonzero(scores >= true[-1] - TIE)) if len(true) else 0
        return found / wanted if wanted else 1.0


def _true_scores(vectors: Floats, queries: Floats, allowed: Mask) -> list[Floats]:
    """Return for each query the scores of its nearest allowed rows, best first: all queries at once."""
    found = np.full((len(queries), NEIGHBOURS), -np.inf, np.float32)  # the least of each first
    for start in range(0, len(vectors), _BLOCK):
        scores = queries @ vectors[start : start + _BLOCK].T
        scores[:, ~allowed[start : start + _BLOCK]] = -np.inf
        better = np.flatnonzero(scores.max(axis=1) > found[:, 0])
        both = np.concatenate((found[better], scores[better]), axis=1)
        found[better] = np.sort(np.partition(both, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:], axis=1)
    return [scores[np.isfinite(scores)] for scores in found[:, ::-1]]
