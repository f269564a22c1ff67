"""What the pitches tell: key, mode, chroma and tuning."""

from dataclasses import dataclass

from workers.audio import chroma, key
from workers.audio.features import Estimate
from workers.audio.spectrum import RATE, Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Harmony:
    """What the pitches tell."""

    key: Estimate
    mode: Estimate
    chroma: Floats  # shape (12,), C first, sum 1 or all 0
    tuning: float  # semitones above A = 440 Hz, -0.5 .. 0.5
    flatness: float  # median spectral flatness of the pitch range, 0 tone .. 0.56 noise


def estimate(signal: Floats) -> Harmony:
    """Estimate the key of a mono signal of unit RMS, shape (samples,) at RATE."""
    heard = chroma.measure(signal)
    tonic, mode = key.judge(heard, len(signal) / RATE)
    return Harmony(key=tonic, mode=mode, chroma=heard.overall, tuning=heard.tuning, flatness=heard.flatness)
