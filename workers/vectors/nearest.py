"""The nearest rows of a space to a vector: what every index answers, and how."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.vectors.embedding import Floats

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Scores that differ by less are equal: the same products, summed in another order.
TIE = 2e-6
# Rows beyond the ones asked for that may come because they tie with the last.
_TIES_MAX = 1000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Nearest:
    """Rows, best first, and for each its cosine with the query."""

    rows: Rows
    scores: Floats


class VectorIndex(Protocol):
    """Finds the nearest rows of one space."""

    def search(self, query: Floats, k: int, allowed: Mask | None = None) -> Nearest:
        """Return the k nearest rows, and those that tie with the last of them; fewer where there are no more.

        Args:
            query: unit length, shape (dimensions,).
            allowed: which rows may be found, shape (rows,); all where it is None.
        """


def best(rows: Rows | None, scores: Floats, k: int) -> Nearest:
    """Return the k best of some scores, and those that tie with the last; `rows` names them, None counts from 0."""
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = np.flatnonzero(scores >= least - TIE)
    else:
        chosen = np.arange(len(scores))
    order = chosen[np.argsort(-scores[chosen], kind="stable")][: k + _TIES_MAX]
    return Nearest(rows=np.asarray(order if rows is None else rows[order], np.int64), scores=scores[order])
