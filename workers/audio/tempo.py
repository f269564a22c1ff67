"""Candidates for the tempo, and how likely each of them is."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.audio.onsets import FRAME_RATE
from workers.audio.periodicity import Periodicity, Repetition, cut
from workers.audio.spectrum import Floats, hann, padded_rfft

SLOWEST, FASTEST = 40.0, 240.0  # BPM
_TEMPI = np.geomspace(SLOWEST, FASTEST, 330)  # 0.55 % apart
_PREFERRED_TEMPO = 112.0  # BPM, centre of the corpus on a logarithmic scale

# A first, wide net.
_LAG_WEIGHTS = np.array([1.0, 0.8, 0.6, 0.5])  # of 1, 2, 3 and 4 beats
_HARMONIC_WEIGHTS = np.array([1.0, 0.6, 0.3, 0.3])  # of 1, 2, 3 and 4 pulses a beat
_NET_OCTAVES = 1.2  # width of the prior
_PEAKS, _LEADERS = 6, 3
_RELATIVES = np.array([1.0, 1 / 3, 1 / 2, 2 / 3, 3 / 2, 2.0, 3.0])  # what a listener may hear in place of a leader
_SAME = np.log(1.045)

RATIOS = np.array([1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4, 6, 8])
BASS_RATIOS = np.array([1 / 2, 1, 2, 3, 4])
# Votes for a tempo, fitted by tests/benchmarks/audio/fit_rhythm.py: after how many beats onsets repeat (first column),
# and how many pulses there are in a beat (second).
_BY_RATIO = np.array(
    [
        (0.23, -0.74),  # 1/4
        (0.87, -2.00),  # 1/3
        (0.82, 1.07),  # 1/2
        (-0.14, -3.40),  # 2/3
        (0.64, 0.58),  # 3/4
        (1.27, 0.54),  # 1
        (0.02, -0.26),  # 4/3
        (0.58, -1.92),  # 3/2
        (1.20, 1.14),  # 2
        (1.33, 1.37),  # 3
        (0.60, 4.26),  # 4
        (0.50, 2.88),  # 6
        (2.42, -0.55),  # 8
    ]
)
_BY_BASS_RATIO = np.array(
    [
        (-1.14, 0.73),  # 1/2
        (1.36, 1.12),  # 1
        (-0.77, -0.23),  # 2
        (1.16, 1.35),  # 3
        (0.13, 0.54),  # 4
    ]
)
_BY_OCTAVES = (0.09, -2.15)  # distance from the preferred tempo, and its square
WEIGHTS = np.concatenate((*_BY_RATIO.T, *_BY_BASS_RATIO.T, _BY_OCTAVES))
_STRONGEST_LAGS = slice(int(0.2 * FRAME_RATE), int(4 * FRAME_RATE))
_STRONGEST_PULSES = np.arange(0.5, 10, 0.01)  # a second

_LONG_WINDOW, _MOST_LONG_WINDOWS = 2048, 120  # frames, 24 s
_FASTEST_PULSE = 4 * 1.05 * FASTEST / 60  # a second: four a beat


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Tempi a listener may tap, the likeliest first."""

    tempi: NDArray[np.float64]  # beats a minute
    chances: NDArray[np.float64]  # sum 1, provided that there is a pulse


def weigh(repetition: Repetition) -> Candidates:
    """Return the tempi that a listener may tap and their chances: a conditional logit of `describe`."""
    tempi = candidates(repetition.whole)
    votes = describe(repetition, tempi) @ WEIGHTS
    chances = np.exp(votes - votes.max())
    order = np.argsort(-chances)
    return Candidates(tempi=tempi[order], chances=chances[order] / chances.sum())


def candidates(periodicity: Periodicity) -> NDArray[np.float64]:
    """Return tempi in BPM worth a closer look, shape (some 10,): the highest scores, and what divides the first three.

    The autocorrelation peaks at multiples of the beat, the Fourier transform at its fractions; only the beat
    itself is high in both (Peeters, EURASIP JASP 2007).
    """
    pulses = np.outer(np.arange(1, len(_HARMONIC_WEIGHTS) + 1), _TEMPI / 60)
    octaves = np.log2(_TEMPI / _PREFERRED_TEMPO) / _NET_OCTAVES
    scores = lag_comb(periodicity) * (_HARMONIC_WEIGHTS @ periodicity.at(pulses)) * np.exp(-0.5 * octaves**2)
    inner = (scores[1:-1] >= scores[:-2]) & (scores[1:-1] > scores[2:])
    peaks = 1 + np.flatnonzero(inner) if inner.any() else np.array([int(np.argmax(scores))])
    found = _TEMPI[peaks[np.argsort(-scores[peaks])][:_PEAKS]]
    relatives = np.outer(found[:_LEADERS], _RELATIVES[1:]).ravel()
    inside = relatives[(relatives >= SLOWEST) & (relatives <= FASTEST)]
    return _distinct(np.concatenate((found, inside)))


def _distinct(tempi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out what hardly differs from an earlier one."""
    near = np.abs(np.log(tempi[:, None] / tempi)) < _SAME
    kept: list[int] = []
    for number in range(len(tempi)):
        if not near[number, kept].any():
            kept.append(number)
    return tempi[kept]


def lag_comb(periodicity: Periodicity) -> NDArray[np.float64]:
    """Return how strongly onsets repeat after one to four beats of each tempo from 40 to 240 BPM, at least 0."""
    wanted = np.outer(np.arange(1, len(_LAG_WEIGHTS) + 1), 60 * FRAME_RATE / _TEMPI)
    weights = _LAG_WEIGHTS[:, None] * periodicity.has(wanted)
    values = (periodicity.after(wanted) * weights).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-9)
    return np.asarray(np.maximum(values, 0.0))


def describe(repetition: Repetition, tempi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what tells the beat from its multiples and fractions, shape (tempi, len(WEIGHTS)).

    What `_shape` finds at RATIOS in all bands and at BASS_RATIOS in the bass, then the tempo's distance in octaves
    from the preferred one and its square.
    """
    octaves = np.log2(tempi / _PREFERRED_TEMPO)[:, None]
    whole, bass = _shape(repetition.whole, tempi, RATIOS), _shape(repetition.bass, tempi, BASS_RATIOS)
    return np.concatenate((whole, bass, octaves, octaves**2), axis=1)


def _shape(periodicity: Periodicity, tempi: NDArray[np.float64], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the autocorrelation after so many beats, then the root of the Fourier magnitude at so many pulses a beat.

    Both are relative to the strongest of the recording, shape (tempi, 2 * ratios).
    """
    lags = periodicity.after(np.outer(60 * FRAME_RATE / tempi, ratios))
    lags = lags / max(float(periodicity.lags[_STRONGEST_LAGS].max()), 1e-9)
    magnitudes = periodicity.at(np.outer(tempi / 60, ratios))
    magnitudes = magnitudes / max(float(periodicity.at(_STRONGEST_PULSES).max()), 1e-9)
    return np.concatenate((np.clip(lags, -0.3, 1), np.sqrt(magnitudes)), axis=1)


def refine(flux: Floats, tempi: Iterable[float]) -> list[float]:
    """Return for each tempo the one within 3 % that explains 24 s windows of onset strength, shape (frames,), best."""
    windows = cut(flux[:, None], _LONG_WINDOW, _MOST_LONG_WINDOWS)[:, 0]
    size = 8 * _LONG_WINDOW
    spectrum = padded_rfft(windows * hann(windows.shape[-1]), size)[:, : int(_FASTEST_PULSE * size / FRAME_RATE)]
    magnitudes = np.abs(spectrum).mean(axis=0)
    return [_refined(magnitudes, tempo, size) for tempo in tempi]


def _refined(magnitudes: Floats, tempo: float, size: int) -> float:
    grid = tempo * np.linspace(0.97, 1.03, 121)
    bins = np.outer((1, 2, 4), grid / 60 * size / FRAME_RATE)
    scores = np.interp(bins, np.arange(len(magnitudes)), magnitudes).sum(axis=0)
    return float(grid[int(np.argmax(scores))])
