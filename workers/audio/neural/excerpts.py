"""Stretches of a recording at the rate and the level that the models were trained on."""
# mypy: disable-error-code="import-untyped"

import numpy as np
import soxr

from workers.audio.spectrum import RATE, Floats

MODEL_RATE = 16000  # Hz
LEVEL = 0.1  # RMS of an excerpt, -20 dBFS: the models must not hear the gain


def excerpts(mono: Floats, *, count: int, seconds: float) -> Floats:
    """Return up to `count` stretches, evenly spread, shape (stretches, seconds * MODEL_RATE).

    Args:
        mono: samples of unit RMS, shape (samples,), at RATE.
        count: how many at most; a recording too short for them all gives fewer, without overlap.
        seconds: length of each. A recording shorter than one is padded with zeros.
    """
    size = round(seconds * RATE)
    taken = max(1, min(count, len(mono) // size))
    starts = ((np.arange(taken) + 0.5) * (len(mono) / taken) - size / 2).astype(int).clip(0)
    wanted = round(seconds * MODEL_RATE)
    found = np.zeros((taken, wanted), np.float32)
    for row, start in zip(found, starts, strict=True):
        resampled = soxr.resample(mono[start : start + size], RATE, MODEL_RATE, "MQ")[:wanted]
        row[: len(resampled)] = resampled
    return found * np.float32(LEVEL)
