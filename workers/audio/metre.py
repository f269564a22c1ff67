"""Beats in a bar, from how the accents of beats repeat."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from workers.audio.curves import logistic
from workers.audio.features import Estimate
from workers.audio.periodicity import cut
from workers.audio.spectrum import Floats, autocorrelation

_POINTS = 8  # a beat
_WINDOW, _MOST_WINDOWS = 32, 60  # beats
_RELIABLE = 0.95  # of the window
_FEWEST_BEATS = 7  # two bars of three

# Beats after which accents are compared.
_AFTER = np.array([2, 3, 4, 6, 8, 9, 12])
# Fitted by tests/benchmarks/audio/fit_rhythm.py: votes for three beats in a bar, the last a constant.
WEIGHTS = np.array([-2.65, 5.07, 0.15, 4.43, -4.57, 5.53, 3.77, -1.52])

# Bars of five and seven, of which the corpus has none, must repeat more strongly than all others by this much.
_ODD, _ODD_LEAD, _ODD_CONFIDENCE = (5, 7), 0.15, 0.6


def estimate(flux: Floats, beats: NDArray[np.intp]) -> Estimate:
    """Return the beats in a bar: 3 or 4, where it is plain 5 or 7.

    Args:
        flux: onset strength, shape (frames, bands).
        beats: frames on which beats fall, shape (beats,).
    """
    if len(beats) < _FEWEST_BEATS:
        return Estimate.missing("too_short")
    repeated = repetition(flux, beats)
    odd = max(_ODD, key=lambda count: float(repeated[count]))
    if repeated[odd] > repeated[_AFTER].max() + _ODD_LEAD:
        return Estimate.of(odd, _ODD_CONFIDENCE)
    three = logistic(float(describe(repeated) @ WEIGHTS), centre=0.0, width=1.0)
    return Estimate.of(3, three) if three > 0.5 else Estimate.of(4, 1 - three)


def describe(repeated: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what tells bars of three from bars of four in `repetition`, shape (len(WEIGHTS),); the last is 1."""
    return np.append(repeated[_AFTER], 1.0)


def repetition(flux: Floats, beats: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the mean autocorrelation of accents after 0, 1, ... 12 beats.

    What lies beyond a short recording is taken to repeat like half of it.
    """
    windows = cut(_accents(flux, beats), _WINDOW, _MOST_WINDOWS)
    found = autocorrelation(windows).mean(axis=(0, 1), dtype=np.float64)
    after = np.arange(_AFTER[-1] + 1)
    seen = np.where(after < _RELIABLE * len(found), after, after // 2)
    seen = np.where(seen < _RELIABLE * len(found), seen, after // 4)
    return np.asarray(found[seen])


def _accents(flux: Floats, beats: NDArray[np.intp]) -> Floats:
    """Return onset strength on every beat and its mean until the next, by band, shape (beats - 1, 2 * bands)."""
    period = float(np.median(np.diff(beats)))
    smooth = scipy.ndimage.uniform_filter1d(flux, max(1, int(period / _POINTS)), axis=0)
    points = np.interp(np.arange((len(beats) - 1) * _POINTS) / _POINTS, np.arange(len(beats)), beats)
    frames = np.clip(np.rint(points).astype(np.intp), 0, len(flux) - 1)
    by_beat = smooth[frames].reshape(len(beats) - 1, _POINTS, -1)
    return np.asarray(np.concatenate((by_beat[:, 0], by_beat.mean(axis=1)), axis=1), np.float32)
