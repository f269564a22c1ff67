"""How much of the truth an index finds."""

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trial:
    """Queries near some rows, and the truth about their nearest among these rows."""

    queries: Floats
    # of each query the scores of its true nearest, best first
    truth: list[Floats]
    allowed: Mask

    @classmethod
    def among(cls, vectors: Floats, chosen: Rows) -> "Trial":
        """Compare the queries with every chosen row."""
        allowed = np.zeros(len(vectors), np.bool_)
        allowed[chosen] = True
        exact, queries = ExactIndex(vectors), queries_near(vectors, chosen)
        truth = [exact.search(query, NEIGHBOURS, allowed).scores[:NEIGHBOURS] for query in queries]
        return cls(queries=queries, truth=truth, allowed=allowed)

    def recall(self, index: VectorIndex) -> float:
        """Return the share of the truth that an index finds, 0 to 1."""
        return recall(index, self.queries, self.truth, self.allowed)


def recall(index: VectorIndex, queries: Floats, truth: list[Floats], allowed: Mask | None) -> float:
    """Return the share of the truth that the index finds, 0 to 1; of rows that tie any will do."""
    found = wanted = 0
    for query, true in zip(queries, truth, strict=True):
        scores = index.search(query, len(true), allowed).scores[: len(true)]
        wanted += len(true)
        found += int(np.count_nonzero(scores >= true[-1] - TIE)) if len(true) else 0
    return found / wanted if wanted else 1.0
