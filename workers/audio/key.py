"""The key that a chroma belongs to, as a linear model over all twenty-four, and how far to believe it."""

import numpy as np
from numpy.typing import NDArray

from workers.audio.chroma import Chroma
from workers.audio.features import Estimate

_MIN_SECONDS = 3.0
# Spectral flatness is 0.56 for noise, below 0.15 for most music.
_NOISE_FLATNESS = 0.45
# A pitch class sounds when it holds this share of the strongest one.
_SOUNDING = 0.08
_FEWEST_PITCH_CLASSES = 3
# Correlation with the key's weights plus this much of the focus tells music (613 recordings: above 0.91) from drums
# alone (40: below 0.86), speech (45: below 0.8) and gliding voices (60: below 0.88); neither measure does so by itself.
_FOCUS_SHARE = 0.6
_MIN_LIKENESS = 0.89
# Notes at random stay below this in nine of ten cases; of the music fitted to, all lies above it.
_MIN_PROBABILITY = 0.25

# Strong pitch classes count less than their share: a held bass note is no more tonic than a short one.
_COMPRESSION = 0.7

# Weights by interval above the tonic of all of the piece, its opening and its close; the scores of 24 keys are sums
# of weighted shares. Fitted by tests/benchmarks/audio/fit_key.py to 584 arrangements of chorales, folk tunes and
# chamber music, starting from the profiles of Albrecht & Shanahan, Music Perception 31(1), 2013.
WEIGHTS = np.array(
    (
        (
            (9.6, -9.9, 2.6, 7.1, -6.3, -0.8, -4.3, 9.5, -1.9, -7.2, 0.7, 0.9),
            (9.6, -9.6, 3.2, 9.3, -8.2, -1.9, -4.1, 10.0, -3.0, -7.2, 0.4, 1.4),
            (4.6, -2.4, 0.3, -1.3, 2.1, -1.2, -0.8, 3.2, -0.6, -2.6, -1.6, 0.3),
        ),
        (
            (11.6, -6.7, 3.4, -5.8, 8.5, -0.6, -6.1, 10.8, -5.7, -1.3, -10.5, 2.5),
            (12.3, -6.6, 4.5, -7.4, 11.2, 0.7, -6.3, 11.0, -5.6, -3.0, -12.7, 1.9),
            (3.8, -2.4, -0.2, 0.7, 0.2, -0.8, -0.5, 3.0, -0.6, -2.5, -1.2, 0.5),
        ),
    )
)
"""Shape (2, 3, 12): minor and major; all, opening and close."""

MAJOR_BIAS = -1.39  # added to the score of every major key, whose weights favour the common chords of both modes

# The weights are drawn back to those of the literature, which makes the probabilities too modest: by this much in
# log-odds for pieces that the fit had not seen.
_MODESTY = 1.27
# Music unlike that which the weights were fitted to is judged less well than any figure tells.
_MOST_CERTAIN = 0.95


def judge(chroma: Chroma, seconds: float) -> tuple[Estimate, Estimate]:
    """Return the tonic's pitch class and the mode of a recording, or why they have no value."""
    probabilities = distribution(chroma)
    reason = _objection(chroma, probabilities, seconds)
    if reason is not None:
        return Estimate.missing(reason), Estimate.missing(reason)
    mode, tonic = _best(probabilities)
    return (
        Estimate.of(tonic, _confidence(float(probabilities[mode, tonic]))),
        Estimate.of(mode, _confidence(float(probabilities[mode].sum()))),
    )


def distribution(chroma: Chroma) -> NDArray[np.float64]:
    """Return the probability of each key among all, shape (2, 12): minor and major by tonic."""
    scores = np.array([[np.vdot(WEIGHTS[mode], rolled) for rolled in _from_each_tonic(chroma)] for mode in (0, 1)])
    scores[1] += MAJOR_BIAS
    shares = np.exp(scores - scores.max())
    return np.asarray(shares / shares.sum(), np.float64)


def features(chroma: Chroma) -> NDArray[np.float64]:
    """Return what the weights apply to, shape (3, 12): compressed shares of all, opening and close, their mean 0."""
    compressed = np.array((chroma.overall, chroma.opening, chroma.close), np.float64) ** _COMPRESSION
    return np.asarray(compressed / np.maximum(compressed.sum(axis=1, keepdims=True), 1e-9) - 1 / 12, np.float64)


def _from_each_tonic(chroma: Chroma) -> list[NDArray[np.float64]]:
    shares = features(chroma)
    return [np.roll(shares, -tonic, axis=1) for tonic in range(12)]


def _best(probabilities: NDArray[np.float64]) -> tuple[int, int]:
    mode, tonic = divmod(int(np.argmax(probabilities)), 12)
    return mode, tonic


def _objection(chroma: Chroma, probabilities: NDArray[np.float64], seconds: float) -> str | None:
    if seconds < _MIN_SECONDS:
        return "too_short"
    if chroma.flatness > _NOISE_FLATNESS:
        return "no_pitch"
    if np.count_nonzero(chroma.overall > _SOUNDING * max(float(chroma.overall.max()), 1e-9)) < _FEWEST_PITCH_CLASSES:
        return "too_few_pitches"
    is_unclear = probabilities.max() < _MIN_PROBABILITY or _likeness(chroma, *_best(probabilities)) < _MIN_LIKENESS
    return "ambiguous" if is_unclear else None


def _likeness(chroma: Chroma, mode: int, tonic: int) -> float:
    """Return how much the pitches look like those of music in this key at all: 1.4 for a clear one."""
    shares = np.roll(features(chroma)[0], -tonic)
    return float(np.corrcoef(shares, WEIGHTS[mode, 0])[0, 1]) + _FOCUS_SHARE * chroma.focus


def _confidence(probability: float) -> float:
    odds = np.exp(_MODESTY) * probability / max(1 - probability, 1e-9)
    return min(float(odds / (1 + odds)), _MOST_CERTAIN)
