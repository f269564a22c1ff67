"""Short-time spectra in chunks, so that an hour of audio needs no more working memory than a minute."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray

RATE = 22050  # Hz; every analysis but loudness runs at this rate

Floats = NDArray[np.float32]

# Samples transformed at once: 2 MB of float32 stay within a core's cache.
_CHUNK_SAMPLES = 1 << 19


def power_frames(signal: Floats, size: int, hop: int, bins: slice = slice(None)) -> Iterator[Floats]:
    """Yield power spectra, shape (some frames, bins), of Hann-windowed frames.

    Args:
        signal: mono, shape (samples,); fewer than `size` samples give no frame.
        size: frame length in samples.
        hop: distance of frames in samples.
        bins: which of the size // 2 + 1 bins.
    """
    if len(signal) < size:
        return
    window = hann(size)
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]
    step = min(len(frames), max(1, _CHUNK_SAMPLES // size))
    windowed = np.empty((step, size), np.float32)  # used again: fresh memory is slow
    for start in range(0, len(frames), step):
        count = min(step, len(frames) - start)
        np.multiply(frames[start : start + count], window, out=windowed[:count])
        yield power(windowed[:count], bins)


def power(frames: Floats, bins: slice = slice(None)) -> Floats:
    """Return |rfft|^2 along the last axis, of all or some bins; the frames are overwritten."""
    spectrum = scipy.fft.rfft(frames, axis=-1, overwrite_x=True)
    result: Floats = np.abs(spectrum[..., bins])  # twice as fast as squaring its parts
    result *= result
    return result


def squared_parts(frames: NDArray[np.complex64]) -> Floats:
    """Return the squares of the real and imaginary parts of the fft along the last axis, side by side."""
    parts: Floats = scipy.fft.fft(frames, axis=-1).view(np.float32)
    parts *= parts
    return parts


def padded_rfft(frames: Floats, size: int) -> NDArray[np.complex64]:
    """Return the rfft along the last axis after zero-padding to `size`."""
    result: NDArray[np.complex64] = scipy.fft.rfft(frames, n=size, axis=-1)
    return result


def autocorrelation(frames: Floats) -> Floats:
    """Return the autocorrelation along the last axis for lags 0 .. n - 1, unbiased, 1 at lag 0."""
    length = frames.shape[-1]
    size = int(scipy.fft.next_fast_len(2 * length, real=True))
    spectrum = power(np.pad(frames, [(0, 0)] * (frames.ndim - 1) + [(0, size - length)]))
    raw = scipy.fft.irfft(spectrum, axis=-1)[..., :length]
    unbiased = raw * (length / (length - np.arange(length, dtype=np.float32)))
    result: Floats = unbiased / np.maximum(unbiased[..., :1], 1e-9)
    return result


@lru_cache(maxsize=8)
def hann(size: int) -> Floats:
    """Return the periodic Hann window."""
    phase = np.arange(size) * (2 * np.pi / size)
    window: Floats = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    return window


@lru_cache(maxsize=2)
def mel_bank(bands: int, size: int, low: float, high: float) -> Floats:
    """Return triangular mel filters (O'Shaughnessy's scale), shape (size // 2 + 1, bands), of unit sum."""
    mels = np.linspace(_to_mel(low), _to_mel(high), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(size // 2 + 1)[:, None] * (RATE / size)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = np.clip(np.minimum(rising, falling), 0, None)
    result: Floats = (bank / np.maximum(bank.sum(axis=0), 1e-9)).astype(np.float32)
    return result


def _to_mel(frequency: float) -> float:
    return float(2595 * np.log10(1 + frequency / 700))
