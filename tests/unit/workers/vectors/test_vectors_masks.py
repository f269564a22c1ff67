"""What meets a filter is looked up once as long as it is kept, and is the same whether it was kept or not."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.vectors.errors import InvalidQuery
from workers.vectors.filters import Between, Condition, Excluding, HasAny
from workers.vectors.masks import KEPT_MAX, Masks
from workers.vectors.nearest import Rows

YEARS = np.arange(1900.0, 2000.0)


class Shelf:
    """Columns of a hundred rows that count how often they are looked at."""

    rows = len(YEARS)
    looks = 0

    def numbers(self, column: str) -> NDArray[np.float64]:
        self.looks += 1
        return YEARS

    def labelled(self, column: str, label: str) -> Rows:
        self.looks += 1
        return np.flatnonzero(int(label) == YEARS % 10)

    def rows_of(self, ids: Sequence[str]) -> Rows:
        self.looks += 1
        return np.asarray([int(one) for one in ids], np.int64)


@pytest.mark.parametrize(
    "conditions",
    [
        [],
        [Between("year", 1950)],
        [Between("year", 1950, 1960), HasAny("digit", ("3", "4"))],
        [Between("year", 1950), HasAny("digit", ["3"]), Excluding(("53",))],
    ],
)
def test_kept_or_not_the_same_rows_meet_all_conditions(conditions: Sequence[Condition]) -> None:
    shelf = Shelf()
    masks = Masks(shelf)

    for _ in range(3):
        mask = masks.met_by_all(conditions)
        assert (mask is None) is (not conditions)
        for row in range(shelf.rows):
            assert mask is None or mask[row] == all(one.met(shelf)[row] for one in conditions)


def test_a_condition_that_comes_again_is_not_looked_up_again() -> None:
    shelf = Shelf()
    masks = Masks(shelf)
    for _ in range(5):
        masks.met_by_all([Between("year", 1950), HasAny("digit", ("3",))])
    assert shelf.looks == 2

    for _ in range(2):
        masks.met_by_all([Excluding(("7",))])  # of one search alone
    assert shelf.looks == 4


def test_a_kept_mask_can_not_be_written_to() -> None:
    mask = Masks(Shelf()).met_by_all([Between("year", 1950)])

    assert mask is not None
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = True


def test_only_the_last_ones_are_kept() -> None:
    shelf = Shelf()
    masks = Masks(shelf)
    for start in range(KEPT_MAX + 1):
        masks.met_by_all([Between("year", 1900 + start)])
    looks = shelf.looks

    masks.met_by_all([Between("year", 1900 + KEPT_MAX)])
    assert shelf.looks == looks
    masks.met_by_all([Between("year", 1900)])
    assert shelf.looks == looks + 1


def test_a_condition_that_can_not_be_is_refused_each_time() -> None:
    masks = Masks(Shelf())
    for _ in range(2):
        with pytest.raises(InvalidQuery):
            masks.met_by_all([Between("year", float("nan"))])
