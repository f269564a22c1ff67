"""A copy of the vectors in whole numbers, a quarter as large: it tells which rows can't be among the nearest.

Exact search is as fast as the memory, so it reads this copy first. Each vector is rounded to multiples of a 127th of
its own largest number, and with it is kept how far that moved it. With the query rounded alike, the true cosine differs
from the one of the rounded vectors by no more than

    |rounded query| |what the vector lost| + |what the query lost| |vector|

(Cauchy and Schwarz), so only the rows that reach the k-th best within that bound are compared in full: nothing is
missed. Of 40,000 x 384 clustered vectors that leaves 50 rows for k = 40 and 500 for k = 100, of 100,000 random ones 300
and 600. One core needs for both steps together, beside the product with every vector:

    40,000 x 384                       1.2 ms   2.5 ms
    100,000 x 384                      3.1 ms   10.5 ms
    40,000 scattered of 400,000 x 384  5 ms     14 ms
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from workers.vectors.arrays import SCATTERED, ArrayWriter, Form, collected, map_array
from workers.vectors.embedding import Floats
from workers.vectors.nearest import TIE, Rows

WIDE = 128
"""Numbers in a vector from which on the copy is worth having: shorter ones are read as fast as the bounds are found."""

_LEVELS = 127
# Beyond the bound: rows that tie with the last are wanted, too, and each side was computed with float32's rounding.
_SLACK = np.float32(5 * TIE)
_BLOCK = 16_384  # rows written at a time

Codes = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True)
class CoarseFiles:
    """Where the copy of one space lies."""

    # int8, shape (rows, dimensions)
    codes: str
    # float32, shape (rows, 2): what 1 stands for in a row's codes, and the length of what the row lost
    bounds: str

    @classmethod
    def of(cls, name: str) -> "CoarseFiles":
        """Return the names of the files of a space."""
        return cls(codes=f"space.{name}.coarse.bin", bounds=f"space.{name}.bounds.bin")

    def are_in(self, folder: Path) -> bool:
        """Whether the snapshot in a folder has the copy."""
        return (folder / self.codes).exists()

    def write(self, folder: Path, vectors: Floats, *, kept: int = 0) -> dict[str, Form]:
        """Write both for vectors of unit length or zero, but for the first `kept`, and return how to read them."""
        codes_writer = ArrayWriter(folder / self.codes, np.int8, vectors.shape[1:], kept=kept)
        bounds_writer = ArrayWriter(folder / self.bounds, np.float32, (2,), kept=kept)
        for start in range(kept, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK]
            codes, steps = _rounded(block)
            codes_writer.append(codes)
            bounds_writer.append(np.stack((steps, _lost(block, codes, steps)), axis=1))
        return {self.codes: codes_writer.close(), self.bounds: bounds_writer.close()}

    def remove(self, folder: Path) -> None:
        """Delete both, where they are."""
        (folder / self.codes).unlink(missing_ok=True)
        (folder / self.bounds).unlink(missing_ok=True)

    def read(self, folder: Path, forms: dict[str, Form]) -> "CoarseIndex | None":
        """Map both, or return None where the snapshot has none."""
        if self.codes not in forms:
            return None
        codes, bounds = (map_array(folder / name, forms[name]) for name in (self.codes, self.bounds))
        return CoarseIndex(codes, bounds)


class CoarseIndex:
    """Says which rows may be among the nearest to a query."""

    def __init__(self, codes: Codes, bounds: Floats) -> None:
        self._codes = codes
        self._bounds = bounds

    def promising(self, query: Floats, k: int, rows: Rows | None) -> Rows:
        """Return the rows, in their order, that may be among the k nearest to a query of unit length, or tie with them.

        Args:
            rows: the ones that may be found, more than k; all where it is None.
        """
        codes, steps = _rounded(query[None])
        bounds = self._bounds if rows is None else self._bounds[rows]
        scores = self._products(codes, rows) * (bounds[:, 0] * steps[0])
        apart = bounds[:, 1] * np.linalg.norm(codes[0] * steps[0]) + _lost(query[None], codes, steps)[0]
        sure = scores - apart
        least = np.partition(sure, len(sure) - k)[len(sure) - k] - _SLACK
        chosen: Rows = np.flatnonzero(scores + apart >= least)
        return chosen if rows is None else rows[chosen]

    def _products(self, query: Codes, rows: Rows | None) -> NDArray[np.int32]:
        """Return the products of some rows' codes with the query's, shape (1, dimensions), in the rows' order."""
        packed = numkong.dots_pack(query)
        if rows is None or len(rows) * SCATTERED > len(self._codes):
            products = _product(self._codes, packed)
            return products if rows is None else products[rows]
        found = np.empty(len(rows), np.int32)
        for place, block in collected(self._codes, rows):
            found[place] = _product(block, packed)
        return found


def _product(codes: Codes, packed: Any) -> NDArray[np.int32]:
    found: NDArray[np.int32] = np.asarray(numkong.dots_packed(codes, packed))[:, 0]
    return found


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
