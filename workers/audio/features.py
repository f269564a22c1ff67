"""The result of an analysis: values with their confidence, never a bare guess."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

ALGORITHM = "backline-kernel"
# Any change that can alter a value raises this: stored results of another version are computed anew.
VERSION = "3.0.0"


class Effort(StrEnum):
    """How thoroughly a recording is analysed; each step contains the one before."""

    QUICK = "quick"  # the central minute; loudness and duration cover all
    STANDARD = "standard"  # the whole recording
    FULL = "full"  # and the trained models, for voices, speech and mood


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """One measured or estimated quantity."""

    # None where the signal does not support a value
    value: float | None
    # 0..1; for a guess among candidates, roughly how often such a guess is right
    confidence: float
    # one stable word why there is no value, None where there is one
    reason: str | None = None

    @classmethod
    def of(cls, value: float, confidence: float) -> "Estimate":
        """Return a value with its confidence clipped to 0..1."""
        return cls(value=value, confidence=round(float(np.clip(confidence, 0, 1)), 3))

    @classmethod
    def missing(cls, reason: str) -> "Estimate":
        """Return the absence of a value and why."""
        return cls(value=None, confidence=0.0, reason=reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUse:
    """A trained model that took part, and the features that it shaped."""

    algorithm: str
    version: str
    features: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where the values come from."""

    algorithm: str = ALGORITHM
    version: str = VERSION
    effort: Effort  # what was done, which is less than what was asked for where a model is not installed
    models: tuple[ModelUse, ...] = ()
    # seconds of the recording that tempo, key, impressions and vector cover; duration and loudness cover all
    window: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Features:
    """Everything the kernel says about one recording; names and ranges follow Spotify's audio features."""

    duration_ms: int
    tempo: Estimate  # beats a minute
    tempo_alternative: Estimate  # the runner-up, most often an octave away
    key: Estimate  # pitch class of the tonic, C = 0 .. B = 11
    mode: Estimate  # 1 major, 0 minor
    time_signature: Estimate  # beats a bar: 3 or 4, where it is plain 5 or 7
    loudness: Estimate  # integrated, LUFS
    loudness_range: Estimate  # LU
    true_peak: Estimate  # dBTP
    energy: Estimate  # this and the rest: 0..1
    danceability: Estimate
    valence: Estimate
    acousticness: Estimate
    instrumentalness: Estimate
    liveness: Estimate
    speechiness: Estimate
    provenance: Provenance
    # one stable word each: what was odd about the samples, though they could be analysed
    warnings: tuple[str, ...] = ()
    # unit length, shape (VECTOR_SIZE,); None where there is nothing to describe
    vector: NDArray[np.float32] | None = None
    # what the tagging model hears, 0..1, the clearest first; empty without it
    tags: tuple[tuple[str, float], ...] = ()
    # the tagging model's layer below the tags, shape (200,); None without it
    embedding: NDArray[np.float32] | None = None
    # seconds from the start; empty without a tempo
    beats: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    # beats a minute from the first beat to the last, a value each 5 s: that of the 10 s around; empty without a tempo
    tempo_curve: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
