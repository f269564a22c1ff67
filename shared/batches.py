"""Many values, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Value = TypeVar("Value")


def in_batches(values: Iterable[Value], size: int) -> Iterator[list[Value]]:
    """Yield the values in lists of this size, the last as long as what is left."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
