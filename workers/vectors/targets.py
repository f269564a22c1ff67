"""Nearness in named numbers: how far entries are from a wished-for tempo, energy, key and so on.

Each column is measured in its own deviation, so that none speaks for all; the distance is the root of the mean square
over the columns that are asked for, and the score exp(-distance): 1 at the target itself, 0.37 one deviation away. Far
beyond all there is it falls more slowly, so that the nearest is still the nearest to a target in other units, say.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from workers.vectors.errors import InvalidQuery
from workers.vectors.filters import Attributes
from workers.vectors.nearest import Mask, Nearest, Rows, best

Values = NDArray[np.float64]

_FAR = 40.0  # deviations; what is e^40 times less soon can't be told from zero

KEYS = 12
_FIFTH = 7  # semitones
# Deviation of the distance between keys if all are equally frequent: the root of the mean of 0, 1, 1, 4, 4 ... 36.
_KEY_UNIT = math.sqrt(146 / 12)


class Scale(StrEnum):
    """How two numbers of a column are compared."""

    LINEAR = "linear"  # by their difference
    OCTAVES = "octaves"  # by the logarithm of their ratio, as speeds are heard: 60 is to 120 what 120 is to 240
    FIFTHS = "fifths"  # pitch classes 0 to 11 by their distance on the circle of fifths, 0 to 6


@dataclass(frozen=True, slots=True)
class Target:
    """A number that is wished for."""

    value: float
    scale: Scale = Scale.LINEAR

    def check(self, column: str) -> None:
        """Raise `InvalidQuery` if nothing can be near to it."""
        if not math.isfinite(self.value) or (self.scale is Scale.OCTAVES and self.value <= 0):
            raise InvalidQuery(f"Nothing can be near to a {column} of {self.value}.")


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the numbers of a column lie on a scale; keys have the same everywhere."""

    mean: float = 0.0
    # in which distances are measured; 1 where all numbers are the same
    deviation: float = 1.0

    @classmethod
    def of(cls, values: Values, scale: Scale) -> "Spread":
        """Return the spread of some numbers, shape (numbers,); those without a place on the scale do not count."""
        if scale is Scale.FIFTHS:
            return cls(deviation=_KEY_UNIT)
        known = placed(values, scale)
        known = known[~np.isnan(known)]
        if not len(known):
            return cls()
        return cls(mean=float(known.mean()), deviation=float(known.std()) if np.ptp(known) > 0 else 1.0)


SpreadOf = Callable[[str, Scale], Spread]


class TargetIndex:
    """Ranks the living rows of a finished snapshot by their distance from some targets."""

    def __init__(self, attributes: Attributes, alive: Mask) -> None:
        """Look at these columns; `alive` says which rows can be found, shape (rows,)."""
        self._attributes = attributes
        self._alive = alive
        self._spreads: dict[tuple[str, Scale], Spread] = {}

    def search(self, targets: Mapping[str, Target], k: int, allowed: Mask | None) -> Nearest:
        """Return the k nearest rows, and those that tie with the last; rows without one of the numbers are left out.

        Raises:
            InvalidQuery: if there is no such column of numbers, or nothing can be near to a target.
        """
        rows: Rows = np.flatnonzero(self._alive if allowed is None else self._alive & allowed)
        squares = np.zeros(len(rows))
        for column, target in targets.items():
            target.check(column)
            values = self._attributes.numbers(column)[rows]
            squares += (apart(values, target) / self.spread(column, target.scale).deviation) ** 2
        known = ~np.isnan(squares)
        return best(rows[known], scores(squares[known], len(targets)), k)

    def spread(self, column: str, scale: Scale) -> Spread:
        """Return the spread of a column over the living rows; raises `InvalidQuery`."""
        known = self._spreads.get((column, scale))
        if known is None:
            values = self._attributes.numbers(column)[self._alive]
            known = self._spreads[column, scale] = Spread.of(values, scale)
        return known


def scores(squares: Values, columns: int) -> NDArray[np.float32]:
    """Return the scores of entries from the sums of their squared distances over so many columns, in deviations."""
    distances = np.sqrt(squares / columns)
    return (np.exp(-np.minimum(distances, _FAR)) * (_FAR / np.maximum(distances, _FAR))).astype(np.float32)


def differences(
    targets: Mapping[str, Target], attributes: Mapping[str, object], spread_of: SpreadOf
) -> dict[str, float]:
    """Return how far an entry is from each target, in deviations; columns that it lacks are left out."""
    found = {}
    for column, target in targets.items():
        value = attributes.get(column)
        if isinstance(value, int | float):
            distance = float(apart(np.asarray([value], np.float64), target)[0])
            found[column] = distance / spread_of(column, target.scale).deviation
    return {column: value for column, value in found.items() if not math.isnan(value)}


def placed(values: Values, scale: Scale) -> Values:
    """Return where numbers stand on a scale; NaN where they have no place."""
    if scale is Scale.LINEAR:
        return values
    if scale is Scale.FIFTHS:
        return np.mod(np.round(values) * _FIFTH, KEYS)
    return np.log2(values, out=np.full(len(values), np.nan), where=values > 0)


def apart(values: Values, target: Target) -> Values:
    """Return how far numbers are from a target on its scale, in no deviations; NaN where they have no place."""
    (place,) = placed(np.asarray([target.value], np.float64), target.scale)
    distance = np.abs(placed(values, target.scale) - place)
    if target.scale is Scale.FIFTHS:
        distance = np.minimum(distance, KEYS - distance)
    return np.asarray(distance)
