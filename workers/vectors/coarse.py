"""A copy of the vectors in whole numbers, a quarter as large: it tells which rows can't be among the nearest.

Exact search is as fast as the memory, so it reads this copy first. Each vector is rounded to multiples of a 127th of
its own largest number, and with it is kept how far that moved it. With the query rounded alike, the true cosine differs
from the one of the rounded vectors by no more than

    |rounded query| |what the vector lost| + |what the query lost| |vector|

(Cauchy and Schwarz), so only the rows that reach the k-th best within that bound are compared in full: nothing is
missed. Of 40,000 x 384 clustered vectors that leaves 50 rows for k = 40 and 500 for k = 100, of 100,000 random ones 300
and 600. One core needs for both steps together, beside the product with every vector:

    40,000 x 384     1.2 ms   2.5 ms
    100,000 x 384    3.1 ms   10.5 ms
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from workers.vectors.arrays import ArrayWriter, Form, map_array, write_array
from workers.vectors.embedding import Floats
from workers.vectors.nearest import TIE, Rows

_LEVELS = 127
# Beyond the bound: rows that tie with the last are wanted, too, and each side was computed with float32's rounding.
_SLACK = np.float32(5 * TIE)
_BLOCK = 16_384  # rows at a time

Codes = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseFiles:
    """Where the copy of one space lies."""

    # int8, shape (rows, dimensions)
    codes: str
    # float32, shape (2, rows): what 1 stands for in a row's codes, and the length of what the row lost
    bounds: str

    @classmethod
    def of(cls, name: str) -> "CoarseFiles":
        """Return the names of the files of a space."""
        return cls(codes=f"space.{name}.coarse.bin", bounds=f"space.{name}.bounds.bin")

    def write(self, folder: Path, vectors: Floats) -> dict[str, Form]:
        """Write both, where they are not, for vectors of unit length or zero; return how to read them."""
        writer = ArrayWriter(folder / self.codes, np.int8, vectors.shape[1:])
        bounds = np.empty((2, len(vectors)), np.float32)
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            codes, steps = _rounded(block)
            writer.append(codes)
            bounds[0, start : start + len(block)] = steps
            bounds[1, start : start + len(block)] = _lost(block, codes, steps)
        return {self.codes: writer.close(), self.bounds: write_array(folder / self.bounds, bounds)}

    def remove(self, folder: Path) -> None:
        """Delete both, where they are."""
        (folder / self.codes).unlink(missing_ok=True)
        (folder / self.bounds).unlink(missing_ok=True)

    def read(self, folder: Path, forms: dict[str, Form]) -> "CoarseIndex | None":
        """Map both, or return None where the snapshot has none."""
        if self.codes not in forms:
            return None
        codes, bounds = (map_array(folder / name, forms[name]) for name in (self.codes, self.bounds))
        return CoarseIndex(codes, *bounds)


class CoarseIndex:
    """Says which rows may be among the nearest to a query."""

    def __init__(self, codes: Codes, steps: Floats, lost: Floats) -> None:
        self._codes = codes
        self._steps = steps
        self._lost = lost

    def promising(self, query: Floats, k: int, rows: Rows | None) -> Rows:
        """Return the rows, in their order, that may be among the k nearest to a query of unit length, or tie with them.

        Args:
            rows: the ones that may be found, more than k; all where it is None.
        """
        codes, steps = _rounded(query[None])
        products: Any = numkong.dots_packed(self._codes, numkong.dots_pack(codes))
        scores = np.asarray(products)[:, 0] * (self._steps * steps[0])
        apart = self._lost * np.linalg.norm(codes[0] * steps[0]) + _lost(query[None], codes, steps)[0]
        if rows is not None:
            scores, apart = scores[rows], apart[rows]
        sure = scores - apart
        least = np.partition(sure, len(sure) - k)[len(sure) - k] - _SLACK
        chosen: Rows = np.flatnonzero(scores + apart >= least)
        return chosen if rows is None else rows[chosen]


def _rounded(vectors: Floats) -> tuple[Codes, Floats]:
    """Return vectors as multiples of a step of each, shape (rows, dimensions), and the steps, shape (rows,)."""
    steps = (np.abs(vectors).max(axis=1) / _LEVELS).astype(np.float32)
    # a vector of zeros has steps of 0, and any other divisor leaves it what it is
    codes = np.rint(vectors / np.where(steps > 0, steps, 1)[:, None])
    return codes.astype(np.int8), steps


def _lost(vectors: Floats, codes: Codes, steps: Floats) -> Floats:
    """Return the length of what rounding took from each vector, shape (rows,)."""
    lost: Floats = np.linalg.norm(vectors - codes * steps[:, None], axis=1)
    return lost
