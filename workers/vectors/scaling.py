"""Bringing every dimension of a space to the same scale, so that none speaks for all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.vectors.embedding import Floats, unit

FITTED_MIN = 10  # vectors; fewer say little about the spread, and are compared as they are

_BLOCK = 16_384  # rows at a time
_FLAT = 1e-9  # a deviation below is none: the dimension tells nothing apart


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scaler:
    """The mean and the deviation of each dimension."""

    mean: Floats
    # 0 where a dimension is the same everywhere: it is left out
    factor: Floats

    @classmethod
    def fit(cls, vectors: Floats, chosen: NDArray[np.bool_]) -> "Scaler":
        """Return the scaler of the chosen rows of vectors of shape (rows, dimensions)."""
        count, dimensions = int(np.count_nonzero(chosen)), vectors.shape[1]
        if count < FITTED_MIN:
            return cls(mean=np.zeros(dimensions, np.float32), factor=np.ones(dimensions, np.float32))
        mean = _sum(vectors, chosen, np.zeros(dimensions), 1) / count
        deviation = np.sqrt(_sum(vectors, chosen, mean, 2) / count)
        factor = np.divide(1, deviation, out=np.zeros(dimensions), where=deviation > _FLAT)
        return cls(mean=mean.astype(np.float32), factor=factor.astype(np.float32))

    def apply(self, vectors: Floats) -> Floats:
        """Return the standardised vectors, of unit length; zero where a vector is the mean."""
        return unit((vectors - self.mean) * self.factor)

    def undo(self, units: Floats) -> Floats:
        """Return vectors that `apply` turns into these; a dimension that is left out comes back as its mean."""
        deviation = np.divide(1, self.factor, out=np.zeros_like(self.factor), where=self.factor > 0)
        return np.asarray(units * deviation + self.mean, np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return it as the manifest keeps it; float32 goes through decimals unharmed."""
        return {"mean": self.mean.tolist(), "factor": self.factor.tolist()}

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> "Scaler":
        """Return the scaler that `to_json` wrote."""
        return cls(mean=np.asarray(known["mean"], np.float32), factor=np.asarray(known["factor"], np.float32))


def _sum(vectors: Floats, chosen: NDArray[np.bool_], mean: NDArray[np.float64], power: int) -> NDArray[np.float64]:
    total = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK][chosen[start : start + _BLOCK]].astype(np.float64)
        total += ((block - mean) ** power).sum(axis=0)
    return total
