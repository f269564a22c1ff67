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

MULTIPLES = np.array([2, 3, 1 / 2, 1 / 3])  # what is counted in place of the beat
_ALIKE = np.log(1.04)
# An answer that is a multiple of the beat, next to the beat itself. With less, two tempi that share no beat with the
# answer lost to it too often; with 1, the answer is whatever has most multiples.
_MULTIPLE_WORTH = 0.7

RATIOS = np.array([1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4, 6, 8])
BASS_RATIOS = np.array([1 / 2, 1, 2, 3, 4])
TONE_RATIOS = np.array([1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3, 4])
# Votes for a tempo, fitted by tests/benchmarks/audio/fit_rhythm.py: after how many beats onsets repeat (first column),
# and how many pulses there are in a beat (second).
_BY_RATIO = np.array(
    [
        (0.30, -0.58),  # 1/4
        (1.04, -0.29),  # 1/3
        (0.21, 1.37),  # 1/2
        (0.25, -2.14),  # 2/3
        (0.57, 1.92),  # 3/4
        (0.31, -1.14),  # 1
        (0.15, 0.00),  # 4/3
        (-0.08, -1.59),  # 3/2
        (1.82, 1.92),  # 2
        (0.96, 0.05),  # 3
        (0.70, 3.40),  # 4
        (-0.18, 1.45),  # 6
        (2.66, -0.36),  # 8
    ]
)
_BY_BASS_RATIO = np.array(
    [
        (-1.84, -0.19),  # 1/2
        (1.49, 1.86),  # 1
        (-1.56, -1.88),  # 2
        (1.01, 1.82),  # 3
        (0.00, 0.61),  # 4
    ]
)
_BY_TONE_RATIO = np.array(
    [
        (0.34, -1.20),  # 1/3
        (1.25, 1.22),  # 1/2
        (-0.33, -1.93),  # 2/3
        (0.64, 0.75),  # 1
        (1.33, -0.86),  # 3/2
        (0.69, 1.57),  # 2
        (1.15, 1.51),  # 3
        (-0.29, 0.64),  # 4
    ]
)
_BY_COMB = 1.37  # relative to the strongest
_BY_OCTAVES = (0.05, -2.29)  # distance from the preferred tempo, and its square
WEIGHTS = np.concatenate((*_BY_RATIO.T, *_BY_BASS_RATIO.T, *_BY_TONE_RATIO.T, [_BY_COMB], _BY_OCTAVES))
_STRONGEST_LAGS = slice(int(0.2 * FRAME_RATE), int(4 * FRAME_RATE))
_STRONGEST_PULSES = np.arange(0.5, 10, 0.01)  # a second

_LONG_WINDOW, _MOST_LONG_WINDOWS = 2048, 120  # frames, 24 s
_FASTEST_PULSE = 4 * 1.05 * FASTEST / 60  # a second: four a beat


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """Tempi a listener may tap: the answer, then the others, the likeliest first."""

    tempi: NDArray[np.float64]  # beats a minute
    chances: NDArray[np.float64]  # sum 1, provided that there is a pulse


def weigh(repetition: Repetition) -> Candidates:
    """Return the tempi that a listener may tap and their chances: a conditional logit of `describe`."""
    tempi = candidates(repetition.whole)
    votes = describe(repetition, tempi) @ WEIGHTS
    chances = np.exp(votes - votes.max())
    chances /= chances.sum()
    order = np.argsort(-chances)
    best = int(np.argmax(_worth(tempi, chances)))
    order = np.concatenate(([best], order[order != best]))
    return Candidates(tempi=tempi[order], chances=chances[order])


def _worth(tempi: NDArray[np.float64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each answer is worth: its chance, and part of the chance of the tempi that it is a multiple of.

    So that among 60, 120 and 80 BPM, the first two stand together against the third.
    """
    distance = np.abs(np.log(tempi[:, None, None] / tempi[:, None] / MULTIPLES))
    return np.asarray(chances + _MULTIPLE_WORTH * ((distance < _ALIKE).any(axis=-1) @ chances))


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

    What `_shape` finds at RATIOS in all bands, at BASS_RATIOS in the bass and at TONE_RATIOS in single tones; how
    strongly onsets repeat after some beats, relative to the strongest tempo; and the tempo's distance in octaves from
    the preferred one and its square.
    """
    shapes = [
        _shape(periodicity, tempi, ratios)
        for periodicity, ratios in (
            (repetition.whole, RATIOS),
            (repetition.bass, BASS_RATIOS),
            (repetition.tones, TONE_RATIOS),
        )
    ]
    combs = lag_comb(repetition.whole)
    comb = np.interp(np.log(tempi), np.log(_TEMPI), combs)[:, None] / max(float(combs.max()), 1e-9)
    octaves = np.log2(tempi / _PREFERRED_TEMPO)[:, None]
    return np.concatenate((*shapes, comb, octaves, octaves**2), axis=1)


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
