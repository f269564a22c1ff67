"""Drums and pitched instruments for the demo tracks, as float32 arrays at RATE."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RATE = 44100  # Hz

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Timbre:
    """A pitched instrument: the strength of its harmonics and the shape of its notes."""

    harmonics: tuple[float, ...]  # amplitude of the 1st, 2nd, ... partial
    attack: float  # seconds to full level
    decay: float  # seconds to 1/e afterwards


TIMBRES = {
    "organ": Timbre(harmonics=(1.0, 0.6, 0.25, 0.3, 0.0, 0.12), attack=0.02, decay=20.0),
    "strings": Timbre(harmonics=tuple(1 / n for n in range(1, 9)), attack=0.08, decay=8.0),
    "piano": Timbre(harmonics=(1.0, 0.5, 0.3, 0.15, 0.1, 0.05), attack=0.004, decay=0.8),
    "pluck": Timbre(harmonics=(1.0, 0.7, 0.5, 0.35, 0.25, 0.15), attack=0.002, decay=0.25),
    "flute": Timbre(harmonics=(1.0, 0.2, 0.08), attack=0.04, decay=6.0),
    "square": Timbre(harmonics=(1.0, 0.0, 0.33, 0.0, 0.2, 0.0, 0.14), attack=0.005, decay=1.5),
    "bass": Timbre(harmonics=(1.0, 0.6, 0.3, 0.15), attack=0.006, decay=0.5),
}


@lru_cache(maxsize=512)
def note(timbre: Timbre, pitch: int, seconds: float) -> Floats:
    """Return one note, shape (frames,): additive synthesis with a 30 ms release.

    Args:
        timbre: the instrument.
        pitch: MIDI number, 69 = A 440 Hz.
        seconds: length including the release.
    """
    time = np.arange(int(seconds * RATE), dtype=np.float32) / RATE
    turns = np.float32(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12)) * time
    sound = np.zeros_like(time)
    for number, level in enumerate(timbre.harmonics, start=1):
        if level:
            sound += np.float32(level) * np.sin(np.float32(number) * turns)
    envelope = np.minimum(time / timbre.attack, 1) * np.exp(-time / timbre.decay)
    result: Floats = sound * envelope * np.minimum((seconds - time) / 0.03, 1)
    return _frozen(result)


@lru_cache(maxsize=1)
def kick() -> Floats:
    """Return a bass drum: a sine that falls from 150 to 50 Hz in 0.25 s."""
    time = _time(0.25)
    frequency = 50 + 100 * np.exp(-time / 0.03)
    return _frozen(np.sin(2 * np.pi * np.cumsum(frequency) / RATE) * np.exp(-time / 0.08))


@lru_cache(maxsize=1)
def snare() -> Floats:
    """Return a snare drum: noise with a short body, 0.18 s."""
    time = _time(0.18)
    body = 0.4 * np.sin(2 * np.pi * 190 * time) * np.exp(-time / 0.03)
    return _frozen((0.5 * _noise(len(time), 1) + body) * np.exp(-time / 0.05))


@lru_cache(maxsize=1)
def hat() -> Floats:
    """Return a closed hi-hat: differentiated noise, 0.06 s."""
    time = _time(0.06)
    return _frozen(np.diff(_noise(len(time) + 1, 2)) * np.exp(-time / 0.015))


def _time(seconds: float) -> NDArray[np.float64]:
    return np.arange(int(seconds * RATE)) / RATE


def _noise(count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(count)


def _frozen(sound: NDArray[np.floating]) -> Floats:
    """Return read-only samples: the caches hand the same array to everyone."""
    result = np.asarray(sound, np.float32)
    result.flags.writeable = False
    return result
