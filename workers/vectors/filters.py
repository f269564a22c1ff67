"""Conditions that narrow a search down; each says which rows of a collection meet it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.vectors.errors import InvalidQuery
from workers.vectors.nearest import Mask, Rows


class Attributes(Protocol):
    """What conditions look at: the attributes of all rows."""

    @property
    def rows(self) -> int:
        """Return how many rows there are."""

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers, shape (rows,), NaN where there is none; raises `InvalidQuery`."""

    def labelled(self, column: str, label: str) -> Rows:
        """Return the rows that have a label, any spelling of it; raises `InvalidQuery`."""

    def rows_of(self, ids: Sequence[str]) -> Rows:
        """Return the rows of some ids; unknown ones have none."""


class Condition(Protocol):
    """What an entry must meet to be found."""

    def met(self, attributes: Attributes) -> Mask:
        """Return which rows meet it, shape (rows,)."""


@dataclass(frozen=True, slots=True)
class Between:
    """The number in a column lies between two bounds, themselves included; an unknown number does not."""

    column: str
    low: float = -math.inf
    high: float = math.inf

    def met(self, attributes: Attributes) -> Mask:
        """Return which rows meet it."""
        if math.isnan(self.low) or math.isnan(self.high):
            raise InvalidQuery(f"A bound of {self.column} is not a number.")
        values = attributes.numbers(self.column)
        return np.asarray((values >= self.low) & (values <= self.high))


@dataclass(frozen=True, slots=True)
class OneOf:
    """The number in a column is one of some."""

    column: str
    values: Sequence[float]

    def met(self, attributes: Attributes) -> Mask:
        """Return which rows meet it."""
        return np.isin(attributes.numbers(self.column), np.asarray(self.values, np.float64))


@dataclass(frozen=True, slots=True)
class HasAny:
    """At least one of the labels stands in a column; without labels nothing meets it."""

    column: str
    labels: Sequence[str]

    def met(self, attributes: Attributes) -> Mask:
        """Return which rows meet it."""
        mask = np.zeros(attributes.rows, np.bool_)
        for label in self.labels:
            mask[attributes.labelled(self.column, label)] = True
        return mask


@dataclass(frozen=True, slots=True)
class HasAll:
    """Each of the labels stands in a column; without labels everything meets it."""

    column: str
    labels: Sequence[str]

    def met(self, attributes: Attributes) -> Mask:
        """Return which rows meet it."""
        mask = np.ones(attributes.rows, np.bool_)
        for label in self.labels:
            mask &= HasAny(self.column, (label,)).met(attributes)
        return mask


@dataclass(frozen=True, slots=True)
class HasNone:
    """None of the labels stands in a column."""

    column: str
    labels: Sequence[str]

    def met(self, attributes: Attributes) -> Mask:
        """Return which rows meet it."""
        return ~HasAny(self.column, self.labels).met(attributes)


@dataclass(frozen=True, slots=True)
class Excluding:
    """The entry is none of those with these ids: what was seen already, or is asked about."""

    ids: Sequence[str]

    def met(self, attributes: Attributes) -> Mask:
        """Return which rows meet it."""
        mask = np.ones(attributes.rows, np.bool_)
        mask[attributes.rows_of(self.ids)] = False
        return mask
