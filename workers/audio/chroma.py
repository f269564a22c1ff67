"""Which pitch classes sound: in all of a recording, when it begins and when it ends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.audio import peaks
from workers.audio.peaks import Peaks
from workers.audio.spectrum import RATE, Floats

# A piece states its key when it begins and returns to it in its last chord; in between it may modulate.
_OPENING, _CLOSE = 15.0, 4.0  # seconds after which a frame's weight has fallen to 1 / e
# Frames with less than this share of the mean weight (a drum solo, a pause) neither open nor close a piece.
_PITCHED = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Chroma:
    """The share of each pitch class; arrays have shape (12,), C first, and the sum 1, or are all 0."""

    overall: Floats
    opening: Floats
    close: Floats
    tuning: float  # semitones above A = 440 Hz, -0.5 .. 0.5
    focus: float  # 0..1, how closely pitches keep to semitones; below 0.3 in speech, 0.5 in drums
    flatness: float  # median spectral flatness of the pitch range: 0 tone .. 0.56 noise


def measure(signal: Floats) -> Chroma:
    """Return the chroma of a mono signal of unit RMS, shape (samples,) at RATE."""
    found = peaks.find(signal)
    tuning, focus = _tuning(found)
    frames = _frames(found, tuning)
    opening, close = _ends(frames)
    return Chroma(
        overall=_shares(frames.sum(axis=0)),
        opening=_shares(opening @ frames),
        close=_shares(close @ frames),
        tuning=tuning,
        focus=focus,
        flatness=float(np.median(found.flatness)) if len(found.flatness) else 1.0,
    )


def _tuning(found: Peaks) -> tuple[float, float]:
    """Return the circular mean of the deviations from equal temperament, in semitones, and its length, 0..1."""
    mean = np.sum(found.weight * np.exp(2j * np.pi * found.pitch)) / max(float(found.weight.sum()), 1e-9)
    return float(np.angle(mean) / (2 * np.pi)), float(np.abs(mean))


def _frames(found: Peaks, tuning: float) -> NDArray[np.float64]:
    """Return the weight of each pitch class, shape (frames, 12); a peak counts by its closeness to the semitone."""
    pitch = found.pitch - tuning
    nearest = np.round(pitch)
    weight = found.weight * np.cos(np.pi * (pitch - nearest)) ** 2
    count = len(found.flatness)
    cell = found.frame * 12 + nearest.astype(np.int64) % 12
    return np.asarray(np.bincount(cell, weight, minlength=12 * count).reshape(count, 12), np.float64)


def _ends(frames: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each frame's share in the opening and in the close, shape (frames,)."""
    weight = frames.sum(axis=1)
    pitched = weight > _PITCHED * weight.mean() if len(weight) else weight > 0
    passed = np.cumsum(pitched) * (peaks.HOP / RATE)
    left = passed[-1:] - passed
    return np.exp(-passed / _OPENING), np.exp(-left / _CLOSE)


def _shares(chroma: NDArray[np.float64]) -> Floats:
    total = chroma.sum()
    return (chroma / total if total > 0 else chroma).astype(np.float32)
