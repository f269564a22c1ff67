"""Exact search: every vector, or every allowed one, is compared with the query.

In float32, because the product is as fast as the memory, while numpy turns half precision back eight times more slowly
than it multiplies. A coarse copy, where there is one, spares most of them that.
"""

import numpy as np

from workers.vectors.arrays import SCATTERED, collected
from workers.vectors.coarse import CoarseIndex
from workers.vectors.embedding import Floats
from workers.vectors.nearest import Mask, Nearest, Rows, best

FEW = 1_000  # rows are compared in full at once


class ExactIndex:
    """Compares the query with each row of vectors of unit length, shape (rows, dimensions)."""

    def __init__(self, vectors: Floats, coarse: CoarseIndex | None = None) -> None:
        self._vectors = vectors
        self._coarse = coarse

    def search(self, query: Floats, k: int, allowed: Mask | None = None) -> Nearest:
        """Return the k nearest rows, as `VectorIndex` says."""
        rows: Rows | None = None if allowed is None else np.flatnonzero(allowed)
        count = len(self._vectors) if rows is None else len(rows)
        if self._coarse is not None and count > max(k, FEW):
            rows = self._coarse.promising(query, k, rows)
        if rows is None:
            return best(None, self._vectors @ query, k)
        if len(rows) * SCATTERED > len(self._vectors):
            return best(rows, (self._vectors @ query)[rows], k)
        return best(rows, self.scores(query, rows), k)

    def scores(self, query: Floats, rows: Rows) -> Floats:
        """Return the cosines of some rows with the query, in the rows' order."""
        found = np.empty(len(rows), np.float32)
        for place, block in collected(self._vectors, rows):
            np.dot(block, query, out=found[place])
        return found
