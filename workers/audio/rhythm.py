"""Tempo, beats and metre from onset flux."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.audio.features import Estimate
from workers.audio.onsets import FRAME_RATE
from workers.audio.spectrum import Floats, autocorrelation, hann, padded_rfft

TEMPI = np.geomspace(40.0, 240.0, 260)  # BPM, 0.7 % apart
_PREFERRED_TEMPO, _OCTAVES = 112.0, 0.9  # centre and width of the log-Gaussian prior

_BAND_WEIGHTS = np.array([1.5, 1.0, 0.6, 0.25, 0.6], np.float32)  # bass to treble, then the total
_WINDOW = 517  # frames, 6 s
_LONG_WINDOW = 2048  # frames, 24 s
_MOST_WINDOWS = 120  # bounds memory; windows of a long recording stop overlapping
_FOURIER_SIZE = 4096
_LAG_WEIGHTS = np.array([1.0, 0.8, 0.6, 0.5])  # of 1, 2, 3 and 4 beats
_HARMONIC_WEIGHTS = np.array([1.0, 0.6, 0.3, 0.3])  # of 1, 2, 3 and 4 pulses a beat

# Rise at the strongest hundredth of frames, in log units: noise and beating tones reach 0.45, soft music 1 and more.
_MIN_ONSET = 0.5
# Chance repetition shrinks with length: at 6 s noise reaches 0.13, at 20 s 0.06 (random notes 0.10).
_MIN_CLARITY, _CHANCE_CLARITY_SECONDS = 0.075, 0.6
_MIN_FRAMES = 3 * FRAME_RATE
PROFILE_SIZE = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Rhythm:
    """What the onsets tell."""

    tempo: Estimate
    alternative: Estimate
    time_signature: Estimate
    beats: Floats  # seconds, relative to the analysed signal
    clarity: float  # 0..1, how strongly onsets repeat
    profile: Floats  # autocorrelation at PROFILE_SIZE log-spaced lags, for comparing rhythms


@dataclass(frozen=True, kw_only=True, slots=True)
class _Periodicity:
    lags: NDArray[np.float64]  # mean autocorrelation, shape (window,)
    spectrum: NDArray[np.float64]  # mean Fourier magnitude, shape (bins,)


def estimate(flux: Floats) -> Rhythm:
    """Estimate tempo, beats and metre.

    Args:
        flux: onset strength per band, shape (frames, bands), at FRAME_RATE; the last band is the total.
    """
    if len(flux) < _MIN_FRAMES:
        return _none("too_short")
    if float(np.percentile(flux[:, -1], 99)) < _MIN_ONSET:
        return _none("no_onsets")
    periodicity = _periodicity(flux)
    clarity = _clarity(periodicity.lags)
    if clarity < _MIN_CLARITY + _CHANCE_CLARITY_SECONDS * FRAME_RATE / len(flux):
        return _none("no_regular_pulse", profile=_profile(periodicity.lags))
    return _decide(flux, periodicity, clarity)


def _decide(flux: Floats, periodicity: _Periodicity, clarity: float) -> Rhythm:
    scores = _scores(periodicity)
    best, second = _two_highest(scores)
    tempo = _refine(flux, TEMPI[best])
    margin = 1 - scores[second] / scores[best]
    confidence = min(1.0, 0.2 + 2 * clarity) * (0.5 + 0.45 * margin)
    return Rhythm(
        tempo=Estimate.of(round(tempo, 2), confidence),
        alternative=Estimate.of(round(_refine(flux, TEMPI[second]), 2), (1 - confidence) * 0.7),
        time_signature=_metre(flux, tempo),
        beats=_beats(flux[:, -1], tempo),
        clarity=clarity,
        profile=_profile(periodicity.lags),
    )


def _none(reason: str, profile: Floats | None = None) -> Rhythm:
    gone = Estimate.missing(reason)
    return Rhythm(
        tempo=gone,
        alternative=gone,
        time_signature=gone,
        beats=np.empty(0, np.float32),
        clarity=0.0,
        profile=np.zeros(PROFILE_SIZE, np.float32) if profile is None else profile,
    )


def _windows(flux: Floats, size: int) -> Floats:
    """Return mean-free windows of every band, shape (windows, bands, size); at most _MOST_WINDOWS windows."""
    size = min(size, len(flux))
    hop = max(size // 4, (len(flux) - size) // _MOST_WINDOWS + 1)
    windows = np.lib.stride_tricks.sliding_window_view(flux, size, axis=0)[::hop]
    return np.asarray(windows - windows.mean(axis=-1, keepdims=True), np.float32)


def _periodicity(flux: Floats) -> _Periodicity:
    """Average autocorrelation and Fourier magnitude of 6 s windows over windows and bands.

    Each window of each band counts by the root of its level: loud passages lead without drowning the rest.
    The beat is in the bass; hi-hats, which divide it, count less.
    """
    windows = _windows(flux, _WINDOW)
    weight = np.sqrt(np.sqrt(np.mean(windows**2, axis=-1))) * _BAND_WEIGHTS
    weight = (weight / max(float(weight.sum()), 1e-9))[..., None]
    scale = np.sqrt(np.sum(windows**2, axis=-1, keepdims=True)) + 1e-9
    spectrum = np.abs(padded_rfft(windows / scale * hann(windows.shape[-1]), _FOURIER_SIZE))
    return _Periodicity(
        lags=(autocorrelation(windows) * weight).sum(axis=(0, 1), dtype=np.float64),
        spectrum=(spectrum * weight).sum(axis=(0, 1), dtype=np.float64),
    )


def _clarity(lags: NDArray[np.float64]) -> float:
    """Highest mean autocorrelation at a lag of 0.25 to 1.5 s, relative to its neighbourhood's median."""
    section = lags[int(0.25 * FRAME_RATE) : int(1.5 * FRAME_RATE)]
    return float(np.clip(section.max() - np.median(section), 0, 1))


def _scores(periodicity: _Periodicity) -> NDArray[np.float64]:
    """Return a score for each of TEMPI: autocorrelation comb x Fourier comb x prior.

    The autocorrelation peaks at multiples of the beat, the Fourier transform at its fractions; only the beat
    itself is high in both (Peeters, EURASIP JASP 2007).
    """
    octaves = np.log2(TEMPI / _PREFERRED_TEMPO) / _OCTAVES
    return _lag_comb(periodicity.lags) * _fourier_comb(periodicity.spectrum) * np.exp(-0.5 * octaves**2)


def _lag_comb(lags: NDArray[np.float64]) -> NDArray[np.float64]:
    wanted = np.outer(np.arange(1, len(_LAG_WEIGHTS) + 1), 60 * FRAME_RATE / TEMPI)
    inside = wanted < 0.9 * len(lags)  # the last lags rest on too few products
    values = np.interp(wanted, np.arange(len(lags)), lags) * inside
    weights = _LAG_WEIGHTS[:, None] * inside
    result: NDArray[np.float64] = np.maximum((values * weights).sum(axis=0) / weights.sum(axis=0), 0)
    return result


def _fourier_comb(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    wanted = np.outer(np.arange(1, len(_HARMONIC_WEIGHTS) + 1), TEMPI / 60 * _FOURIER_SIZE / FRAME_RATE)
    values = np.interp(wanted, np.arange(len(spectrum)), spectrum)
    result: NDArray[np.float64] = _HARMONIC_WEIGHTS @ values
    return result


def _two_highest(scores: NDArray[np.float64]) -> tuple[int, int]:
    """Return the indices of the best score and of the best one at least 12 % of tempo away."""
    best = int(np.argmax(scores))
    apart = np.abs(np.log(TEMPI / TEMPI[best])) > np.log(1.12)
    peaks = np.r_[False, (scores[1:-1] >= scores[:-2]) & (scores[1:-1] >= scores[2:]), False]
    return best, int(np.argmax(np.where(apart & peaks, scores, 0)))


def _refine(flux: Floats, tempo: float) -> float:
    """Return the tempo within 3 % that explains 24 s windows best: their finer frequencies decide."""
    windows = _windows(flux[:, -1:], _LONG_WINDOW)[:, 0]
    size = 8 * _LONG_WINDOW
    spectrum = np.abs(padded_rfft(windows * hann(windows.shape[-1]), size)).mean(axis=0)
    grid = tempo * np.linspace(0.97, 1.03, 121)
    bins = np.outer((1, 2, 4), grid / 60 * size / FRAME_RATE)
    scores = np.interp(bins, np.arange(len(spectrum)), spectrum).sum(axis=0)
    return float(grid[int(np.argmax(scores))])


def _metre(flux: Floats, tempo: float) -> Estimate:
    """Compare how well the onsets repeat after three and after four beats.

    Two beats speak for four, a bar of three also repeats after six.
    """
    beat = 60 * FRAME_RATE / tempo
    size = min(len(flux), int(9 * beat) + 2)
    lags = autocorrelation(_windows(flux, size)).mean(axis=(0, 1))
    if size <= 6 * beat + 1:
        return Estimate.missing("too_short")
    after = np.interp(beat * np.arange(9), np.arange(size), lags)
    three, four = after[3] + 0.5 * after[6], after[4] + 0.25 * after[2] + 0.25 * after[8] * (size > 8 * beat)
    difference = float(three - four)
    return Estimate.of(3 if difference > 0.05 else 4, 0.5 + min(0.4, 1.5 * abs(difference - 0.05)))


def _beats(onsets: Floats, tempo: float) -> Floats:
    """Return beat times in seconds, the peaks of the predominant local pulse.

    Windows of 6 s tell the phase of the tempo; their cosines, overlapped and added, bridge bars without
    onsets (Grosche & Mueller, IEEE TASLP 19(6), 2011).
    """
    size, hop = min(_WINDOW, len(onsets)), 86
    starts = np.arange(0, len(onsets) - size + 1, hop)
    turn = 2 * np.pi * tempo / 60 / FRAME_RATE
    window = hann(size)
    frames = np.lib.stride_tricks.sliding_window_view(onsets, size)[::hop] * window
    phase = np.angle(frames @ np.exp(-1j * turn * np.arange(size)))
    waves = window * np.cos(turn * np.arange(size) + phase[:, None])
    pulse, cover = np.zeros(len(onsets)), np.full(len(onsets), 1e-6)
    covered = starts[:, None] + np.arange(size)
    np.add.at(pulse, covered, waves)
    np.add.at(cover, covered, window)
    pulse /= cover  # the slope of the outer windows would draw the first and last beats inwards
    peaks = np.flatnonzero((pulse[1:-1] > pulse[:-2]) & (pulse[1:-1] >= pulse[2:]) & (pulse[1:-1] > 0)) + 1
    times: Floats = (peaks / FRAME_RATE).astype(np.float32)
    return times


def _profile(lags: NDArray[np.float64]) -> Floats:
    """Return the autocorrelation at lags from 0.1 to 4 s, equally spaced in log time."""
    wanted = np.geomspace(0.1, 4.0, PROFILE_SIZE) * FRAME_RATE
    profile: Floats = np.interp(wanted, np.arange(len(lags)), lags, right=0.0).astype(np.float32)
    return profile
