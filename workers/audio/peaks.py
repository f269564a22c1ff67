"""Spectral peaks that stand out of the noise around them."""
# mypy: disable-error-code="import-untyped"

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from workers.audio.spectrum import RATE, Floats, power_frames

_SIZE = 8192  # samples: 2.7 Hz bins tell semitones apart from about 150 Hz upwards
HOP = 4096  # samples
_LOW, _HIGH = 65.0, 1500.0  # Hz; above, harmonics outnumber fundamentals
_FADE = 12.0  # semitones; with half of that, transposing recorded music changed its chroma by a quarter more

_PEAK_FLOOR = 1e-5  # of a frame's highest power: 50 dB below it
_MAGNITUDE_EXPONENT = 0.7

# A peak is measured against the mean log power of the 65 bins around it (175 Hz). Of the peaks of noise, and so of
# drums, one in a thousand stands more than 2.7 above that mean; a lone steady tone stands 17 above it.
_AROUND = 32  # bins on either side
_BELOW = 10  # bins taken in below _LOW: further down is rumble, or nothing at all after a high-pass filter
_HEARD, _CLEAR = 3.0, 7.0  # natural log of power, 13 and 30 dB: from no weight to full weight


@dataclass(frozen=True, kw_only=True, slots=True)
class Peaks:
    """The peaks of a recording, one an element, and what is known of its frames."""

    frame: NDArray[np.int64]
    pitch: NDArray[np.float64]  # MIDI numbers with fractions
    weight: NDArray[np.float64]
    flatness: Floats  # of each frame's spectrum: 0 tone .. 0.56 noise


_NONE = Peaks(
    frame=np.empty(0, np.int64),
    pitch=np.empty(0),
    weight=np.empty(0),
    flatness=np.empty(0, np.float32),
)


def find(signal: Floats) -> Peaks:
    """Return the peaks of a mono signal of unit RMS, shape (samples,) at RATE."""
    found = list(_by_chunk(signal)) or [_NONE]
    return Peaks(
        frame=np.concatenate([chunk.frame for chunk in found]),
        pitch=np.concatenate([chunk.pitch for chunk in found]),
        weight=np.concatenate([chunk.weight for chunk in found]),
        flatness=np.concatenate([chunk.flatness for chunk in found]),
    )


def _by_chunk(signal: Floats) -> Iterator[Peaks]:
    first, last = int(_LOW * _SIZE / RATE), int(_HIGH * _SIZE / RATE) + 2
    done = 0
    for power in power_frames(signal, _SIZE, HOP, slice(first - _BELOW, last + _AROUND)):
        yield _peaks_of(power + np.float32(1e-7), first_bin=first, first_frame=done)
        done += len(power)


def _peaks_of(power: Floats, *, first_bin: int, first_frame: int) -> Peaks:
    """Return the peaks of some frames.

    A parabola through the log power of three bins gives frequency and height (Smith & Serra, ICMC 1987).

    Args:
        power: above 0, shape (frames, bins), with _BELOW bins before the first and _AROUND after the last of interest.
        first_bin: number of the first bin of interest.
        first_frame: number of the first frame.
    """
    log = np.log(power)
    prominence = (log - uniform_filter1d(log, 2 * _AROUND + 1, axis=1))[:, _BELOW:-_AROUND]
    middle, before, after = (log[:, _BELOW + shift : log.shape[1] - _AROUND + shift] for shift in (0, -1, 1))
    loud = middle > middle.max(axis=1, keepdims=True) + np.float32(np.log(_PEAK_FLOOR))
    is_peak = (middle > before) & (middle >= after) & loud & (prominence > _HEARD)
    frame, column = np.divmod(np.flatnonzero(is_peak), is_peak.shape[1])  # several times faster than np.nonzero
    left, centre, right = before[frame, column], middle[frame, column], after[frame, column]
    offset = 0.5 * (left - right) / np.minimum(left - 2 * centre + right, -1e-6)
    height = (centre - 0.25 * (left - right) * offset).astype(np.float64)
    pitch = 69 + 12 * np.log2((column + first_bin + offset) * (RATE / _SIZE / 440.0))
    clarity = np.clip((prominence[frame, column] - _HEARD) / (_CLEAR - _HEARD), 0, 1)
    return Peaks(
        frame=frame + first_frame,
        pitch=pitch,
        weight=np.exp(0.5 * _MAGNITUDE_EXPONENT * height) * clarity * _taper(pitch),
        flatness=np.exp(middle.mean(axis=1)) / power[:, _BELOW:-_AROUND].mean(axis=1),
    )


def _taper(pitch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fade both ends of the range: a hard edge would drop whole pitch classes, and other ones after a transposition."""
    low, high = 69 + 12 * np.log2(_LOW / 440), 69 + 12 * np.log2(_HIGH / 440)
    result: NDArray[np.float64] = np.clip((pitch - low) / _FADE, 0, 1) * np.clip((high - pitch) / _FADE, 0, 1)
    return result
