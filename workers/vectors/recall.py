"""How much of the truth an index finds."""

import numpy as np

from workers.vectors.embedding import Floats, unit
from workers.vectors.exact import ExactIndex
from workers.vectors.nearest import TIE, Mask, Rows, VectorIndex

SAMPLE = 100  # queries
NEIGHBOURS = 10
ENOUGH = 0.97  # of the true neighbours must be found before a snapshot is published with a graph
AIM = 0.99  # is looked for: queries from afar find less than a sample does

_SHIFT = 0.4  # length of what is added to a vector to make a query of it
_SEED = 20


def queries_near(vectors: Floats, chosen: Rows, count: int = SAMPLE, seed: int = _SEED) -> Floats:
    """Return unit queries near some of the chosen rows, shape (count, dimensions): near, as those of people are."""
    chance = np.random.default_rng(seed)
    near = vectors[np.sort(chance.choice(chosen, count))]
    noise = unit(chance.standard_normal(near.shape, np.float32))
    return unit(near + np.float32(_SHIFT) * noise)


def true_scores(vectors: Floats, queries: Floats, allowed: Mask | None, k: int = NEIGHBOURS) -> list[Floats]:
    """Return for each query the scores of its true k nearest, best first."""
    exact = ExactIndex(vectors)
    return [exact.search(query, k, allowed).scores[:k] for query in queries]


def recall(index: VectorIndex, queries: Floats, truth: list[Floats], allowed: Mask | None) -> float:
    """Return the share of the truth that the index finds, 0 to 1; of rows that tie any will do."""
    found = wanted = 0
    for query, true in zip(queries, truth, strict=True):
        scores = index.search(query, len(true), allowed).scores[: len(true)]
        wanted += len(true)
        found += int(np.count_nonzero(scores >= true[-1] - TIE)) if len(true) else 0
    return found / wanted if wanted else 1.0
