"""Beat times of a known tempo, by dynamic programming."""

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from workers.audio.onsets import FRAME_RATE, LAG, SIZE
from workers.audio.spectrum import RATE, Floats

# A beat may come this much sooner or later than the last one, as a share of the period.
_SOONEST, _LATEST = 0.75, 1.34
_TIGHTNESS = 400.0  # cost of a squared log deviation from the period, in units of onset strength
_BASS_WEIGHT = 0.7  # the bass tells beats from off-beats
_SMOOTHING = 1.5  # frames
CURVE_STEP = 5.0  # seconds
_CURVE_SPAN = 10.0  # seconds: beats fall on frames, so that one distance between two of them tells little
_FEWEST_BEATS = 4
_LEVEL_SECONDS = 12.0  # passages of different loudness count the same
# seconds from a frame's first sample to the middle of the rise that its flux measures
_DELAY = (SIZE / 2) / RATE - LAG / 2 / FRAME_RATE


def track(flux: Floats, tempo: float) -> NDArray[np.intp]:
    """Return the frames on which beats fall, given onset strength of shape (frames, bands), the last band the total.

    The sequence of frames with the strongest onsets at the most even distances (Ellis, JNMR 36(1), 2007).
    """
    period = 60 * FRAME_RATE / tempo
    return _best_path(_strength(flux, period), period)


def seconds(frames: NDArray[np.intp]) -> Floats:
    """Return the times at which notes that rise in these frames began."""
    times: Floats = (frames / FRAME_RATE + _DELAY).astype(np.float32)
    return times


def tempo_curve(times: Floats) -> Floats:
    """Return the tempo in beats a minute from the first beat to the last, one value each CURVE_STEP seconds.

    That of the steady beats nearest to those of the _CURVE_SPAN seconds around; at both ends, of the ones before or
    after.

    Args:
        times: seconds at which beats fall, shape (beats,).
    """
    if len(times) < _FEWEST_BEATS:
        return np.empty(0, np.float32)
    first, last = float(times[0]), float(times[-1])
    starts = np.clip(np.arange(first, last, CURVE_STEP) - _CURVE_SPAN / 2, first, max(first, last - _CURVE_SPAN))
    spans = zip(np.searchsorted(times, starts), np.searchsorted(times, starts + _CURVE_SPAN, "right"), strict=True)
    return np.array([60 / _period(times[start:stop]) for start, stop in spans], np.float32)


def _period(times: Floats) -> float:
    """Return the seconds between steady beats that come nearest to these by least squares."""
    numbers = np.arange(len(times)) - (len(times) - 1) / 2
    return float(numbers @ times / (numbers @ numbers))


def _strength(flux: Floats, period: float) -> Floats:
    """Return onset strength of mean 0 around every beat and of power 1 around every passage, shape (frames,)."""
    onsets = scipy.ndimage.gaussian_filter1d(flux[:, -1] + _BASS_WEIGHT * flux[:, 0], _SMOOTHING)
    onsets -= scipy.ndimage.uniform_filter1d(onsets, max(1, int(2 * period)))
    power = scipy.ndimage.uniform_filter1d(onsets**2, int(_LEVEL_SECONDS * FRAME_RATE))
    strength: Floats = onsets / (np.sqrt(np.maximum(power, 0)) + np.float32(1e-3))
    return strength


def _best_path(strength: Floats, period: float) -> NDArray[np.intp]:
    """Return the frames of the best sequence of beats.

    The nearest predecessor lies _SOONEST periods back, so that many frames are decided at a time.
    """
    soonest, latest = max(1, int(_SOONEST * period)), int(_LATEST * period) + 1
    distances = np.arange(latest, soonest - 1, -1)
    cost = (_TIGHTNESS * np.log(distances / period) ** 2).astype(np.float32)
    count = len(strength)
    score = np.zeros(count + latest, np.float32)  # preceded by `latest` frames before the start
    before = np.empty(count, np.intp)
    reach = np.lib.stride_tricks.sliding_window_view(score, len(distances))
    for start in range(0, count, soonest):
        block = np.arange(start, min(start + soonest, count))
        options = reach[block] - cost
        chosen = options.argmax(axis=1)
        score[block + latest] = strength[block] + options[block - start, chosen]
        before[block] = block - distances[chosen]
    tail = max(0, count - int(period))
    return _trace(before, tail + int(np.argmax(score[latest + tail :])))


def _trace(before: NDArray[np.intp], last: int) -> NDArray[np.intp]:
    path = []
    while last >= 0:
        path.append(last)
        last = int(before[last])
    return np.array(path[::-1], np.intp)
