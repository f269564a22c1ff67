"""How well one track follows another: tempo in octaves, keys around the circle of fifths."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

UNKNOWN = 0.5
"""How far apart two tracks are of which one has no tempo or key: neither near nor far."""

_WHEEL = 12  # places of the circle of fifths
_STEPS_MAX = 6 + 1  # half of the circle, and the change of mode


def tempo_apart(one: Numbers, others: Numbers) -> Numbers:
    """Return how far tempi are apart, 0 to 1, shape (ones, others): 0 at the same, the half or the double tempo.

    Beats are felt at any power of two, so what counts is the distance to the nearest octave: 1 is half an octave.
    """
    octaves = _octaves(one)[:, None] - _octaves(others)[None, :]
    apart = 2 * np.abs(octaves - np.round(octaves))
    return np.where(np.isfinite(apart), apart, UNKNOWN)


def _octaves(tempi: Numbers) -> Numbers:
    return np.log2(tempi, out=np.full(tempi.shape, np.nan), where=tempi > 0)


def wheel_place(key: Numbers, mode: Numbers) -> Numbers:
    """Return places on the circle of fifths, 0 to 11 with C major and A minor at 0, NaN where the key is unknown.

    Args:
        key: pitch classes, C = 0.
        mode: 1 major, 0 minor; a minor key stands where its relative major does.
    """
    relative = np.where(mode == 0, key + 3, key)
    return np.where(np.isnan(mode), np.nan, relative * 7 % _WHEEL)


def key_apart(one: tuple[Numbers, Numbers], others: tuple[Numbers, Numbers]) -> Numbers:
    """Return how far keys are apart, 0 to 1, shape (ones, others); each is given as (key, mode).

    0 for what the Camelot wheel calls compatible: the same key, a fifth up or down in the same mode, the relative key.
    """
    steps = np.abs(wheel_place(*one)[:, None] - wheel_place(*others)[None, :])
    moves = np.minimum(steps, _WHEEL - steps) + (one[1][:, None] != others[1][None, :])
    apart = np.maximum(moves - 1, 0) / (_STEPS_MAX - 1)
    return np.where(np.isnan(apart), UNKNOWN, apart)


def camelot(key: float | None, mode: float | None) -> str | None:
    """Return a key's name on the Camelot wheel (8B is C major, 8A is A minor), None where it is unknown."""
    if key is None or mode is None:
        return None
    place = float(wheel_place(np.asarray([key], np.float64), np.asarray([mode], np.float64))[0])
    return f"{int(place + 7) % _WHEEL + 1}{'B' if mode == 1 else 'A'}"
