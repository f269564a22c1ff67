"""Tuning, chroma and key from interpolated spectral peaks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.audio.features import Estimate
from workers.audio.spectrum import RATE, Floats, power_frames

_SIZE, _HOP = 8192, 4096  # samples: 2.7 Hz bins tell semitones apart from about 150 Hz upwards
_LOW, _HIGH = 65.0, 1000.0  # Hz; above, harmonics outnumber fundamentals
_PEAK_FLOOR = 1e-5  # of a frame's highest power: 50 dB below it
_MAGNITUDE_EXPONENT = 0.6
_HARMONIC_DECAY = 0.4  # more than this leans towards the key a fifth below
_MIN_SECONDS = 3.0

# Albrecht & Shanahan, "The use of large corpora to train a new type of key-finding algorithm", Music
# Perception 31(1), 2013: share of notes by interval above the tonic.
_MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
_MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)

# Spectral flatness is 0.56 for noise, below 0.1 for most music.
_NOISE_FLATNESS = 0.45
# A pitch class sounds when it holds this share of the strongest one.
_SOUNDING = 0.08
_FEWEST_PITCH_CLASSES = 3
_MIN_CORRELATION = 0.58


@dataclass(frozen=True, kw_only=True, slots=True)
class Harmony:
    """What the pitches tell."""

    key: Estimate
    mode: Estimate
    chroma: Floats  # shape (12,), C first, sum 1 or all 0
    tuning: float  # semitones above A = 440 Hz, -0.5 .. 0.5
    flatness: float  # mean spectral flatness of the pitch range, 0 tone .. 0.56 noise


@dataclass(frozen=True, kw_only=True, slots=True)
class _Peaks:
    pitch: NDArray[np.float64]  # MIDI numbers with fractions
    weight: NDArray[np.float64]
    flatness: float


def estimate(signal: Floats) -> Harmony:
    """Estimate the key of a mono signal of unit RMS, shape (samples,) at RATE."""
    peaks = _find_peaks(signal)
    tuning = _tuning(peaks)
    chroma = _chroma(peaks, tuning)
    key, mode = _judge(chroma, peaks.flatness, len(signal) / RATE)
    return Harmony(key=key, mode=mode, chroma=chroma, tuning=tuning, flatness=peaks.flatness)


def _find_peaks(signal: Floats) -> _Peaks:
    first, last = int(_LOW * _SIZE / RATE), int(_HIGH * _SIZE / RATE) + 2
    found = [_peaks_of(frames[:, first - 1 : last], first) for frames in power_frames(signal, _SIZE, _HOP)]
    if not found:
        return _Peaks(pitch=np.empty(0), weight=np.empty(0), flatness=1.0)
    flatness = np.concatenate([chunk[2] for chunk in found])
    return _Peaks(
        pitch=np.concatenate([chunk[0] for chunk in found]),
        weight=np.concatenate([chunk[1] for chunk in found]),
        flatness=float(np.median(flatness)),
    )


def _peaks_of(power: Floats, first: int) -> tuple[NDArray[np.float64], NDArray[np.float64], Floats]:
    """Return pitches and weights of all peaks of some frames, and each frame's flatness.

    A parabola through the log power of three bins gives frequency and height (Smith & Serra, ICMC 1987).
    """
    log = np.log(power + 1e-7)
    middle = log[:, 1:-1]
    loud = middle > middle.max(axis=1, keepdims=True) + np.log(_PEAK_FLOOR)
    frame, column = np.nonzero((middle > log[:, :-2]) & (middle >= log[:, 2:]) & loud)
    left, centre, right = log[frame, column], log[frame, column + 1], log[frame, column + 2]
    offset = 0.5 * (left - right) / np.minimum(left - 2 * centre + right, -1e-6)
    height = centre - 0.25 * (left - right) * offset
    pitch = 69 + 12 * np.log2((column + first + offset) * (RATE / _SIZE / 440.0))
    flatness = np.exp(log.mean(axis=1)) / np.exp(log).mean(axis=1)
    weight = np.exp(0.5 * _MAGNITUDE_EXPONENT * height.astype(np.float64))
    return pitch, weight * _taper(pitch), flatness


def _taper(pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fade both ends of the range over half an octave.

    A hard edge would drop whole pitch classes, and other ones after a transposition.
    """
    low, high = 69 + 12 * np.log2(_LOW / 440), 69 + 12 * np.log2(_HIGH / 440)
    result: NDArray[np.float64] = np.clip((pitch - low) / 6, 0, 1) * np.clip((high - pitch) / 6, 0, 1)
    return result


def _tuning(peaks: _Peaks) -> float:
    """Return the circular mean of the deviations from equal temperament, in semitones."""
    if not len(peaks.pitch):
        return 0.0
    return float(np.angle(np.sum(peaks.weight * np.exp(2j * np.pi * peaks.pitch))) / (2 * np.pi))


def _chroma(peaks: _Peaks, tuning: float) -> Floats:
    """Return the share of each pitch class; a peak counts by its closeness to the semitone's centre."""
    pitch = peaks.pitch - tuning
    nearest = np.round(pitch)
    weight = peaks.weight * np.cos(np.pi * (pitch - nearest)) ** 2
    chroma = np.bincount(nearest.astype(int) % 12, weight, minlength=12)
    total = chroma.sum()
    return (chroma / total if total > 0 else chroma).astype(np.float32)


def _fold_harmonics(chroma: Floats) -> NDArray[np.float64]:
    """Credit each peak to the notes whose harmonic it may be (Gomez, INFORMS J. Computing 18(3), 2006).

    Of four harmonics with weights 0.4^h, the 1st, 2nd and 4th share the fundamental's pitch class and the
    3rd lies a fifth above, so that all four amount to mixing in a rotated chroma.
    """
    same = 1 + _HARMONIC_DECAY + _HARMONIC_DECAY**3
    return np.asarray(same * chroma + _HARMONIC_DECAY**2 * np.roll(chroma, 5), np.float64)


def _judge(chroma: Floats, flatness: float, seconds: float) -> tuple[Estimate, Estimate]:
    reason = _objection(chroma, flatness, seconds)
    if reason is None:
        scores = _correlations(_fold_harmonics(chroma))
        reason = "ambiguous" if scores.max() < _MIN_CORRELATION else None
    if reason is not None:
        return Estimate.missing(reason), Estimate.missing(reason)
    return _best_key(scores)


def _objection(chroma: Floats, flatness: float, seconds: float) -> str | None:
    if seconds < _MIN_SECONDS:
        return "too_short"
    if flatness > _NOISE_FLATNESS:
        return "no_pitch"
    sounding = np.count_nonzero(chroma > _SOUNDING * max(float(chroma.max()), 1e-9))
    return "too_few_pitches" if sounding < _FEWEST_PITCH_CLASSES else None


def _correlations(chroma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Pearson's correlation with the 24 profiles, shape (2, 12): minor, major by tonic."""
    profiles = np.array([[np.roll(shape, tonic) for tonic in range(12)] for shape in (_MINOR, _MAJOR)])
    profiles -= profiles.mean(axis=-1, keepdims=True)
    centred = chroma - chroma.mean()
    norms = np.linalg.norm(profiles, axis=-1) * max(float(np.linalg.norm(centred)), 1e-9)
    result: NDArray[np.float64] = profiles @ centred / norms
    return result


def _best_key(scores: NDArray[np.float64]) -> tuple[Estimate, Estimate]:
    mode, key = divmod(int(np.argmax(scores)), 12)
    best, second = np.sort(scores, axis=None)[[-1, -2]]
    other_mode = float(scores[1 - mode].max())
    strength = float(np.clip((best - 0.5) / 0.4, 0, 1))
    certainty = 0.25 + 0.3 * strength + 0.35 * min(1.0, float(best - second) / 0.12) * strength
    mode_certainty = 0.5 + 0.2 * strength + 0.25 * min(1.0, (best - other_mode) / 0.12) * strength
    return Estimate.of(key, certainty), Estimate.of(mode, mode_certainty)
