"""Turning what each row has into which rows have it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.vectors.nearest import Mask


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Inverted:
    """The rows of each code, code after code."""

    # where the rows of each code end, shape (codes,)
    ends: NDArray[np.int64]
    # ascending within a code, shape (occurrences,)
    rows: NDArray[np.int32]
    # where each of them stood in the codes that were inverted
    places: NDArray[np.int64]


def invert(codes: NDArray[Any], counts: NDArray[Any], alive: Mask) -> Inverted:
    """Return the rows by code, the living alone.

    Args:
        codes: the codes of all rows, one row after the other.
        counts: how many codes each row has, shape (rows,).
        alive: shape (rows,).
    """
    rows = np.repeat(np.arange(len(alive), dtype=np.int32), counts)
    places = np.flatnonzero(alive[rows])
    places = places[np.argsort(codes[places], kind="stable")]
    ends = np.cumsum(np.bincount(codes[places])).astype(np.int64)
    return Inverted(ends=ends, rows=rows[places], places=places)


def span(ends: NDArray[np.int64], code: int) -> slice:
    """Return where the rows of a code stand; nowhere if nothing has it any more."""
    if code >= len(ends):
        return slice(0, 0)
    return slice(int(ends[code - 1]) if code else 0, int(ends[code]))
