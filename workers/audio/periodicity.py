"""How onsets repeat: mean autocorrelation and spectrum of a recording's onset strength."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.audio.onsets import FRAME_RATE, Onsets
from workers.audio.spectrum import Floats, autocorrelation, hann, padded_rfft

_WINDOW = 1034  # frames, 12 s: eight beats at 40 BPM
_TOGETHER = 8  # windows, which the cache holds
_MOST_WINDOWS = 60  # bounds memory; windows of a long recording stop overlapping
_FOURIER_SIZE = 4096  # 1.3 BPM a bin
_FASTEST = 20.0  # pulses a second kept of the spectrum
_RELIABLE = 0.92  # of the window: the last lags rest on too few products
_TOLERANCE = np.linspace(-0.012, 0.012, 5)  # around a lag or frequency: players and bins are not exact


@dataclass(frozen=True, kw_only=True, slots=True)
class Periodicity:
    """Mean of all windows."""

    lags: NDArray[np.float64]  # autocorrelation by lag in frames, 1 at lag 0, shape (window,)
    spectrum: NDArray[np.float64]  # Fourier magnitude by frequency, shape (bins,)

    def after(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the highest autocorrelation near each lag, 0 beyond the reliable ones; same shape."""
        values = _highest_near(self.lags, frames)
        return np.where(self.has(frames), values, 0.0)

    def has(self, frames: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which lags are reliable."""
        return np.asarray(frames < _RELIABLE * len(self.lags))

    def at(self, pulses_a_second: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the highest magnitude near each frequency; same shape."""
        return _highest_near(self.spectrum, pulses_a_second * (_FOURIER_SIZE / FRAME_RATE))

    @property
    def clarity(self) -> float:
        """Highest autocorrelation at a lag of 0.25 to 1.5 s above its neighbourhood's median, 0..1."""
        section = self.lags[int(0.25 * FRAME_RATE) : int(1.5 * FRAME_RATE)]
        return float(np.clip(section.max() - np.median(section), 0, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """How onsets repeat."""

    whole: Periodicity  # all bands count the same: cymbals do not drown the bass, nor the other way round
    bass: Periodicity  # the first band alone: there lies the beat, where drums and a bass play
    tones: Periodicity  # single tones: there lies the beat of soft music


def measure(onsets: Onsets) -> Repetition:
    """Return how onsets repeat within 12 s.

    Each window of each band counts by the root of its level: loud passages lead without drowning the rest.
    """
    lags, magnitudes = _means(onsets.flux)
    tone_lags, tone_magnitudes = _means(onsets.tones[:, None])
    return Repetition(
        whole=Periodicity(lags=lags.mean(axis=0), spectrum=magnitudes.mean(axis=0)),
        bass=Periodicity(lags=lags[0], spectrum=magnitudes[0]),
        tones=Periodicity(lags=tone_lags[0], spectrum=tone_magnitudes[0]),
    )


def _means(flux: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean autocorrelation and spectrum of flux of shape (frames, bands): (bands, lags), (bands, bins)."""
    windows = cut(flux, _WINDOW, _MOST_WINDOWS)
    found = [_summed(windows[start : start + _TOGETHER]) for start in range(0, len(windows), _TOGETHER)]
    lags, magnitudes, weight = (np.sum(part, axis=0, dtype=np.float64) for part in zip(*found, strict=True))
    weight = np.maximum(weight, 1e-9)[:, None]
    return lags / weight, magnitudes / weight


def _summed(windows: Floats) -> tuple[Floats, Floats, Floats]:
    """Return weighted sums over windows, shapes (bands, lags) and (bands, bins), and those of the weights."""
    power = np.einsum("wbf,wbf->wb", windows, windows) / windows.shape[-1]
    weight = power**0.25
    lags = np.einsum("wbf,wb->bf", autocorrelation(windows), weight)
    spectrum = padded_rfft(windows * hann(windows.shape[-1]), _FOURIER_SIZE)
    magnitudes = np.abs(spectrum[..., : int(_FASTEST * _FOURIER_SIZE / FRAME_RATE)])
    level = np.sqrt(windows.shape[-1] * power) + 1e-9
    return lags, np.einsum("wbf,wb->bf", magnitudes, weight / level), weight.sum(axis=0)


def cut(flux: Floats, size: int, most: int) -> Floats:
    """Return mean-free windows of every band, shape (windows, bands, size); at most `most` + 1 windows."""
    size = min(size, len(flux))
    hop = max(size // 4, (len(flux) - size) // most + 1)
    windows = np.lib.stride_tricks.sliding_window_view(flux, size, axis=0)[::hop]
    return np.asarray(windows - windows.mean(axis=-1, keepdims=True), np.float32)


def _highest_near(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    around = at[..., None] * (1 + _TOLERANCE)
    return np.asarray(np.interp(around, np.arange(len(values)), values, right=0.0).max(axis=-1))
