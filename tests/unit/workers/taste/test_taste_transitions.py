"""Tempi and keys as a DJ compares them."""

import numpy as np
import pytest

from workers.taste.transitions import UNKNOWN, camelot, key_apart, tempo_apart

MAJOR, MINOR = 1.0, 0.0


def one(value: float | None) -> np.ndarray:
    return np.asarray([np.nan if value is None else value])


@pytest.mark.parametrize(
    ("tempo", "other", "apart"),
    [(120, 120, 0), (120, 60, 0), (60, 240, 0), (120, 120 * 2**0.5, 1), (100, 110, 0.275), (0, 100, UNKNOWN)],
)
def test_tempi_are_compared_within_the_octave(tempo: float, other: float, apart: float) -> None:
    assert tempo_apart(one(tempo), one(other))[0, 0] == pytest.approx(apart, abs=1e-3)
    assert tempo_apart(one(other), one(tempo))[0, 0] == pytest.approx(apart, abs=1e-3)


@pytest.mark.parametrize(
    ("key", "other", "apart"),
    [
        ((0, MAJOR), (0, MAJOR), 0),
        ((0, MAJOR), (7, MAJOR), 0),  # a fifth up
        ((0, MAJOR), (5, MAJOR), 0),  # a fifth down
        ((0, MAJOR), (9, MINOR), 0),  # the relative minor
        ((0, MAJOR), (4, MINOR), 1 / 6),  # the relative minor of the fifth
        ((0, MAJOR), (2, MAJOR), 1 / 6),
        ((0, MAJOR), (6, MAJOR), 5 / 6),  # across the wheel
        ((0, MAJOR), (3, MINOR), 1),
        ((0, None), (0, MAJOR), UNKNOWN),
        ((None, MINOR), (0, MINOR), UNKNOWN),
    ],
)
def test_keys_are_compared_around_the_circle_of_fifths(
    key: tuple[float | None, float | None], other: tuple[float | None, float | None], apart: float
) -> None:
    here, there = (one(key[0]), one(key[1])), (one(other[0]), one(other[1]))
    assert key_apart(here, there)[0, 0] == pytest.approx(apart)
    assert key_apart(there, here)[0, 0] == pytest.approx(apart)


@pytest.mark.parametrize(
    ("key", "mode", "name"),
    [
        (0, 1, "8B"),
        (9, 0, "8A"),
        (7, 1, "9B"),
        (5, 1, "7B"),
        (4, 1, "12B"),
        (11, 1, "1B"),
        (8, 0, "1A"),
        (0, None, None),
    ],
)
def test_keys_have_their_camelot_names(key: float, mode: float | None, name: str | None) -> None:
    assert camelot(key, mode) == name
