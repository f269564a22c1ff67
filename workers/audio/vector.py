"""A fingerprint of how a recording sounds, for nearest-neighbour search by cosine similarity."""

import numpy as np
from numpy.typing import NDArray

from workers.audio.harmony import Harmony
from workers.audio.onsets import FLUX_BANDS, MEL_BANDS, Onsets
from workers.audio.rhythm import PROFILE_SIZE, Rhythm
from workers.audio.spectrum import Floats

_CEPSTRA = 20
_HARMONY_SIZE = 12 + 6
VECTOR_SIZE = 3 * _CEPSTRA + PROFILE_SIZE + (FLUX_BANDS - 1) + _HARMONY_SIZE  # 106

# Share of the squared length that each aspect may take: timbre tells genres apart best.
_TIMBRE, _RHYTHM, _HARMONY = 0.5, 0.3, 0.2


def describe(onsets: Onsets, rhythm: Rhythm, harmony: Harmony) -> Floats | None:
    """Return a unit vector of shape (VECTOR_SIZE,), None without a frame.

    Timbre: mean, spread and mean change of 20 mel cepstra without the 0th, which is the level. Rhythm: the
    onset autocorrelation and the bands' share of onsets. Harmony: the chroma from the tonic upwards and the
    magnitudes of its Fourier transform, which need no tonic. Gain does not matter: the signal came in with
    unit RMS.
    """
    if not len(onsets.mel):
        return None
    parts = (
        _sized(_timbre(onsets.mel), _TIMBRE),
        _sized(np.concatenate((rhythm.profile, _shares(onsets.flux))), _RHYTHM),
        _sized(_harmony(harmony), _HARMONY),
    )
    vector = np.concatenate(parts)
    length = float(np.linalg.norm(vector))
    return (vector / length).astype(np.float32) if length > 0 else None


def _sized(part: NDArray[np.floating], share: float) -> NDArray[np.float64]:
    length = float(np.linalg.norm(part))
    scaled = np.asarray(part, np.float64) * (np.sqrt(share) / length if length > 1e-9 else 0.0)
    return np.asarray(scaled, np.float64)


def _timbre(mel: Floats) -> NDArray[np.float64]:
    cepstra = (mel @ _cosines()).astype(np.float64)
    changes = np.abs(np.diff(cepstra, axis=0)).mean(axis=0) if len(cepstra) > 1 else np.zeros(_CEPSTRA)
    return np.concatenate((cepstra.mean(axis=0), cepstra.std(axis=0), 2 * changes))


def _cosines() -> Floats:
    """Return the DCT-II without its constant row, shape (MEL_BANDS, _CEPSTRA)."""
    centres = (np.arange(MEL_BANDS) + 0.5) / MEL_BANDS
    basis: Floats = np.cos(np.pi * np.outer(centres, np.arange(1, _CEPSTRA + 1))).astype(np.float32)
    return basis * np.float32(np.sqrt(2 / MEL_BANDS))


def _shares(flux: Floats) -> NDArray[np.float64]:
    bands = flux[:, :-1].mean(axis=0, dtype=np.float64)
    return np.asarray(bands / max(float(bands.sum()), 1e-9), np.float64)


def _harmony(harmony: Harmony) -> NDArray[np.float64]:
    tonic = int(harmony.key.value) if harmony.key.value is not None else int(np.argmax(harmony.chroma))
    relative = np.roll(harmony.chroma, -tonic).astype(np.float64)
    magnitudes = np.abs(np.fft.rfft(relative))[1:]
    return np.concatenate((relative - relative.mean(), 0.5 * magnitudes))
