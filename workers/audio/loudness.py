"""Loudness (ITU-R BS.1770-4), loudness range (EBU Tech 3342) and true peak, measured as blocks stream by."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workers.audio.features import Estimate
from workers.audio.spectrum import Floats, squared_parts

_STEPS_A_SECOND = 10
_TOGETHER = 4  # steps: the transform computes four at a time, and a single one takes as long
_GATING_STEPS = 4  # 400 ms, BS.1770-4
_SHORT_TERM_STEPS = 30  # 3 s, EBU Tech 3341
_ABSOLUTE_GATE = -70.0  # LUFS
# BS.1770-4 table 3 for L R C LFE Ls Rs; further channels count like the front ones
_SURROUND_WEIGHTS = (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)

_NEAR_PEAK = 0.7  # a sample further below the peak hides no higher one
_PIECES = 16  # of each pushed block that are oversampled
_APART = 64  # parts of a block that are searched side by side
_TAPS = 12  # a phase, as BS.1770-4 annex 2
_OVERSAMPLING = 4
_SEAM = _APART + _TAPS  # frames on either side of the edge of blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Loudness:
    """The three measures of one recording."""

    integrated: Estimate  # LUFS
    range: Estimate  # LU
    true_peak: Estimate  # dBTP


class LoudnessMeter:
    """Measure a recording block by block, at its own rate.

    K-weighting is applied as a weight on the spectrum of 100 ms blocks instead of a recursive filter:
    Parseval's theorem gives the mean square of the filtered block. Two real channels travel in one complex
    transform, since the weight is symmetric and the cross terms cancel.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._step = max(1, round(rate / _STEPS_A_SECOND))
        self._weight = np.repeat(k_weight(rate, self._step), 2)  # the same for real and imaginary parts
        self._gains = _channel_gains(channels)
        self._rest = np.empty((0, channels), np.float32)
        self._steps: list[NDArray[np.float64]] = []
        self._peaks = TruePeakMeter(channels)

    def push(self, block: Floats) -> None:
        """Add a block of shape (frames, channels)."""
        self._peaks.push(block)
        missing = -len(self._rest) % (_TOGETHER * self._step)
        rest = self._measure(np.concatenate((self._rest, block[:missing])), _TOGETHER)
        self._rest = np.concatenate((rest, self._measure(block[missing:], _TOGETHER)))

    def finish(self) -> Loudness:
        """Return the measures of everything pushed."""
        self._measure(self._rest, 1)
        steps = np.concatenate(self._steps) if self._steps else np.empty(0)
        return Loudness(integrated=integrated(steps), range=loudness_range(steps), true_peak=self._peaks.finish())

    def _measure(self, samples: Floats, together: int) -> Floats:
        """Measure the steps in samples of shape (frames, channels), so many at a time, and return what is left."""
        whole = len(samples) // (together * self._step) * together * self._step
        if whole:
            self._steps.append(self._mean_squares(samples[:whole]))
        return samples[whole:]

    def _mean_squares(self, samples: Floats) -> NDArray[np.float64]:
        """Return the weighted mean square, summed over channels, of each 100 ms; shape (steps,)."""
        pairs = _as_complex_pairs(samples, self._gains).reshape(-1, self._step, (samples.shape[1] + 1) // 2)
        squares = squared_parts(np.ascontiguousarray(pairs.transpose(0, 2, 1)))
        sums = (squares @ self._weight).sum(axis=1, dtype=np.float64)
        result: NDArray[np.float64] = sums / self._step**2
        return result


def _channel_gains(channels: int) -> Floats:
    gains = np.ones(channels, np.float32)
    if channels >= 5:  # 5.0 has no LFE
        surround = _SURROUND_WEIGHTS[:3] + _SURROUND_WEIGHTS[4:] if channels == 5 else _SURROUND_WEIGHTS
        gains[: len(surround)] = np.sqrt(surround)
    return gains


def _as_complex_pairs(samples: Floats, gains: Floats) -> NDArray[np.complex64]:
    """Return channels 2k + i (2k + 1), shape (frames, pairs)."""
    channels = samples.shape[1]
    if channels == 2:  # the common case needs no copy
        return np.ascontiguousarray(samples).view(np.complex64)
    padded = np.zeros((len(samples), channels + channels % 2), np.float32)
    padded[:, :channels] = samples * gains
    return padded.view(np.complex64)


def k_weight(rate: int, size: int) -> Floats:
    """Return the K-weighting power response at the bins of an fft of `size` points, shape (size,).

    BS.1770-4 gives biquads for 48 kHz only; the analogue prototypes behind them (De Man, "Evaluation of
    Implementations of the EBU R128 Loudness Measurement", AES 2018) fit any rate.
    """
    z = np.exp(-2j * np.pi * np.arange(size) / size)
    response = np.ones(size, complex)
    for numerator, denominator in (_high_shelf(rate), _high_pass(rate)):
        response *= np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)
    result: Floats = (np.abs(response) ** 2).astype(np.float32)
    return result


Biquad = tuple[tuple[float, float, float], tuple[float, float, float]]


def _high_shelf(rate: int) -> Biquad:
    tangent, q = np.tan(np.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    norm = 1 + tangent / q + tangent**2
    numerator = (high + band * tangent / q + tangent**2, 2 * (tangent**2 - high))
    return (*numerator, high - band * tangent / q + tangent**2), _poles(tangent, q, norm)


def _high_pass(rate: int) -> Biquad:
    tangent, q = np.tan(np.pi * 38.13547087602444 / rate), 0.5003270373238773
    norm = 1 + tangent / q + tangent**2
    # BS.1770-4 leaves this numerator unnormalised: its pass band gains 0.04 dB
    return (norm, -2 * norm, norm), _poles(tangent, q, norm)


def _poles(tangent: float, q: float, norm: float) -> tuple[float, float, float]:
    return norm, 2 * (tangent**2 - 1), 1 - tangent / q + tangent**2


def integrated(steps: NDArray[np.float64]) -> Estimate:
    """Return the gated loudness in LUFS (BS.1770-4, 400 ms blocks overlapping by 75 %).

    Args:
        steps: weighted mean squares of successive 100 ms, shape (n,).
    """
    blocks = _moving_mean(steps, _GATING_STEPS)
    if not len(blocks):
        return Estimate.missing("too_short")
    loud = blocks[to_lufs(blocks) > _ABSOLUTE_GATE]
    if not len(loud):
        return Estimate.missing("silence")
    loud = loud[to_lufs(loud) > to_lufs(loud.mean()) - 10]
    return Estimate.of(round(float(to_lufs(loud.mean())), 2), 1.0)


def loudness_range(steps: NDArray[np.float64]) -> Estimate:
    """Return the spread in LU of short-term loudness: 10th to 95th percentile, gated (EBU Tech 3342)."""
    blocks = _moving_mean(steps, _SHORT_TERM_STEPS)
    if not len(blocks):
        return Estimate.missing("too_short")
    loud = blocks[to_lufs(blocks) > _ABSOLUTE_GATE]
    if not len(loud):
        return Estimate.missing("silence")
    levels = to_lufs(loud[to_lufs(loud) > to_lufs(loud.mean()) - 20])
    low, high = np.percentile(levels, (10, 95))
    # below a minute EBU Tech 3342 calls the measure unreliable
    return Estimate.of(round(float(high - low), 2), min(1.0, len(blocks) / 600))


def to_lufs(mean_square: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """Return -0.691 + 10 log10 of weighted mean squares (BS.1770-4 equation 2)."""
    result: NDArray[np.float64] = -0.691 + 10 * np.log10(np.maximum(mean_square, 1e-15))
    return result


def _moving_mean(steps: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    if len(steps) < width:
        return np.empty(0)
    return np.convolve(steps, np.full(width, 1 / width), "valid")


class TruePeakMeter:
    """Highest level between the samples, by fourfold oversampling (BS.1770-4 annex 2).

    Only what surrounds the highest samples of each block is oversampled: the peak between two samples hides beside a
    high sample in all but contrived signals, at a fraction of the cost.
    """

    def __init__(self, channels: int) -> None:
        self._tail = np.zeros((_SEAM, channels), np.float32)
        self._peak = 0.0

    def push(self, block: Floats) -> None:
        """Add a block of shape (frames, channels)."""
        seam = np.concatenate((self._tail, block[:_SEAM]))
        self._peak = max(self._peak, _highest(seam), _highest_between(seam.T))
        if len(block) < _SEAM:
            self._tail = seam[-_SEAM:]
            return
        self._tail = block[-_SEAM:].copy()
        highest = _highest(block)
        if highest > _NEAR_PEAK * self._peak:
            self._peak = max(self._peak, highest, _highest_between(_around_highest(block)))

    def finish(self) -> Estimate:
        """Return the true peak in dBTP."""
        self.push(np.zeros_like(self._tail))
        if self._peak <= 0:
            return Estimate.missing("silence")
        return Estimate.of(round(20 * float(np.log10(self._peak)), 2), 0.95)


def _highest(samples: Floats) -> float:
    return max(float(samples.max()), -float(samples.min()))


def _around_highest(block: Floats) -> Floats:
    """Return _TAPS samples on either side of high ones, shape (pieces, samples).

    These are the highest of the _APART samples at equal distances from each other, of which the highest are taken.
    """
    rows = len(block) // _APART * _APART
    # Without their sign, finite floats order like the integers of the same bits, which numpy compares much faster.
    magnitudes = (block[:rows].view(np.uint32) & np.uint32(0x7FFFFFFF)).reshape(_APART, -1)
    count = min(_PIECES, magnitudes.shape[1])
    columns = np.argpartition(magnitudes.max(axis=0), -count)[-count:]
    frames, channels = np.divmod(magnitudes[:, columns].argmax(axis=0) * magnitudes.shape[1] + columns, block.shape[1])
    frames = np.clip(frames, _TAPS, len(block) - _TAPS - 1)
    around: Floats = block[frames[:, None] + np.arange(-_TAPS, _TAPS + 1), channels[:, None]]
    return around


def _highest_between(pieces: Floats) -> float:
    """Return the highest level between the samples of pieces of shape (pieces, samples)."""
    return float(np.abs(np.lib.stride_tricks.sliding_window_view(pieces, _TAPS, axis=1) @ _interpolators()).max())


@lru_cache(maxsize=1)
def _interpolators() -> Floats:
    """Return windowed-sinc filters for the three points between samples, shape (taps, 3)."""
    points = np.arange(1, _OVERSAMPLING) / _OVERSAMPLING
    distance = np.arange(_TAPS)[:, None] - (_TAPS // 2 - 1) - points
    window = np.cos(np.pi * distance / (_TAPS + 1)) ** 2
    filters: Floats = np.sinc(distance) * window
    return np.asarray(filters / filters.sum(axis=0), np.float32)
