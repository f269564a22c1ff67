"""Nearness in named numbers as a product: what a server that only multiplies can rank by.

With z for the place of an entry's number on a scale, less the mean and in deviations, and t for that of the target, the
square of their distance is z^2 - 2tz + t^2: the product of what every entry says, (z^2, z), and of what a query asks,
(-1, 2t), taken from t^2. On the circle of fifths each of the twelve keys is a number of its own, 1 or left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from workers.vectors.query import FEATURES
from workers.vectors.schema import Kind, Schema, Value
from workers.vectors.targets import KEYS, Scale, Spread, Target, Values, apart, placed, scores

NUMBERS_VECTOR = f"{FEATURES}-near"

# Where the parts of a column stand, from the column's own place on.
_FIRST = {Scale.LINEAR: 0, Scale.OCTAVES: 2, Scale.FIFTHS: 4}
_PARTS = 4 + KEYS

Spreads = Mapping[tuple[str, Scale], Spread]


def spreads_of(columns: Mapping[str, Values]) -> Spreads:
    """Return the spread of each column of numbers on each scale."""
    return {(column, scale): Spread.of(values, scale) for column, values in columns.items() for scale in Scale}


def spreads_to_json(spreads: Spreads) -> list[dict[str, Any]]:
    """Return spreads as a collection's notes keep them."""
    return [
        {"column": column, "scale": scale.value, "mean": spread.mean, "deviation": spread.deviation}
        for (column, scale), spread in spreads.items()
    ]


def spreads_from_json(known: Iterable[Mapping[str, Any]]) -> Spreads:
    """Return the spreads that `spreads_to_json` wrote."""
    return {(one["column"], Scale(one["scale"])): Spread(mean=one["mean"], deviation=one["deviation"]) for one in known}


def said_numbers(attributes: Mapping[str, Value], schema: Schema, spreads: Spreads) -> models.SparseVector | None:
    """Return the vector of what an entry says of its numbers; None if it has none."""
    found: dict[int, float] = {}
    for column, first in _places(schema).items():
        value = attributes.get(column)
        if isinstance(value, int | float):
            for scale in Scale:
                found |= _said(float(value), first + _FIRST[scale], scale, spreads[column, scale])
    return models.SparseVector(indices=list(found), values=list(found.values())) if found else None


def _said(value: float, first: int, scale: Scale, spread: Spread) -> dict[int, float]:
    (place,) = placed(np.asarray([value]), scale)
    if np.isnan(place):
        return {}
    if scale is Scale.FIFTHS:
        return {first + int(place): 1.0}
    apart_ = float(place - spread.mean) / spread.deviation
    return {first: apart_ * apart_, first + 1: apart_}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asked:
    """What is asked for some targets."""

    vector: models.SparseVector
    # from which the product is to be taken
    constant: float
    # how many targets
    columns: int

    @classmethod
    def of(cls, targets: Mapping[str, Target], schema: Schema, spreads: Spreads) -> "Asked":
        """Return what to ask for targets that are columns of numbers."""
        found: dict[int, float] = {}
        constant = 0.0
        for column, target in targets.items():
            first = _places(schema)[column] + _FIRST[target.scale]
            spread = spreads[column, target.scale]
            if target.scale is Scale.FIFTHS:
                found |= _keys(first, target, spread)
            else:
                (place,) = placed(np.asarray([target.value]), target.scale)
                wanted = float(place - spread.mean) / spread.deviation
                found |= {first: -1.0, first + 1: 2 * wanted}
                constant += wanted * wanted
        vector = models.SparseVector(indices=list(found), values=list(found.values()))
        return cls(vector=vector, constant=constant, columns=len(targets))

    def scores(self, products: Values) -> NDArray[np.float32]:
        """Return the scores of entries, as every engine gives them, from the products that the server found."""
        return scores(np.maximum(self.constant - products, 0), self.columns)


def _keys(first: int, target: Target, spread: Spread) -> dict[int, float]:
    keys = np.arange(KEYS, dtype=np.float64)
    squares = (apart(keys, target) / spread.deviation) ** 2
    places = placed(keys, Scale.FIFTHS).astype(int)
    return {first + int(place): -float(square) for place, square in zip(places, squares, strict=True)}


def _places(schema: Schema) -> dict[str, int]:
    columns = sorted(name for name, kind in schema.columns.items() if kind is Kind.NUMBER)
    return {column: place * _PARTS for place, column in enumerate(columns)}
