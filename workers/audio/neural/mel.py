"""The spectrogram that musicnn was trained on, as librosa 0.11 computes it, in numpy and scipy alone."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from workers.audio.neural.excerpts import MODEL_RATE
from workers.audio.spectrum import Floats, hann, power

FRAMES = 187  # of a patch: three seconds
BANDS = 96
WINDOW = 512  # samples
HOP = 256  # samples

# What FRAMES windows span: every window lies within the patch, as in the middle of a recording, with no padding.
PATCH_SAMPLES = (FRAMES - 1) * HOP + WINDOW

_COMPRESSION = 10000.0

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
_LINEAR_HZ = 200 / 3  # a mel
_KNEE_HZ = 1000.0
_KNEE_MEL = _KNEE_HZ / _LINEAR_HZ
_LOG_STEP = np.log(6.4) / 27  # a mel


def log_mel(samples: Floats) -> Floats:
    """Return log10(1 + 10000 x power) in 96 mel bands, shape (187, 96).

    Args:
        samples: at MODEL_RATE, shape (PATCH_SAMPLES,).
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    bands: Floats = power(frames * hann(WINDOW)) @ _filters()
    bands *= np.float32(_COMPRESSION)
    bands += 1
    result: Floats = np.log10(bands, out=bands)
    return result


@lru_cache(maxsize=1)
def _filters() -> Floats:
    """Return triangles evenly spaced in mel from 0 to 8 kHz, of unit area in hertz, shape (257, 96)."""
    edges = _hertz(np.linspace(0, _mel(MODEL_RATE / 2), BANDS + 2))
    bins = np.linspace(0, MODEL_RATE / 2, WINDOW // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return np.asarray(triangles * 2 / (edges[2:] - edges[:-2]), np.float32)


def _mel(hertz: float) -> float:
    return float(hertz / _LINEAR_HZ if hertz < _KNEE_HZ else _KNEE_MEL + np.log(hertz / _KNEE_HZ) / _LOG_STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (mels - _KNEE_MEL))
    return np.where(mels < _KNEE_MEL, mels * _LINEAR_HZ, above)
