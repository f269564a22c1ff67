"""The beginning of a recording as a small WAV file, for who is to hear no more of it."""
# mypy: disable-error-code="import-untyped"

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from workers.audio.decode import AudioStream

SECONDS = 30
RATE = 44_100  # Hz
BYTES_MAX = 5_000_000
"""Whatever the recording is like, a clip of 30 s takes 2.7 MB."""


def clip(stream: AudioStream) -> bytes:
    """Return the first 30 s, or less where there is no more, as 16-bit mono WAV at 44.1 kHz; no more is decoded.

    Raises:
        CorruptAudioError, EmptyFileError: nothing could be decoded.
    """
    mono = _beginning(stream, SECONDS * stream.rate)
    at_rate = mono if stream.rate == RATE else soxr.resample(mono, stream.rate, RATE, "MQ")
    file = io.BytesIO()
    soundfile.write(file, np.clip(at_rate[: SECONDS * RATE], -1.0, 1.0), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _beginning(stream: AudioStream, frames: int) -> NDArray[np.float32]:
    """Return the mean of the channels, at most so many frames of it."""
    parts: list[NDArray[np.float32]] = []
    left = frames
    for block in stream.blocks():
        parts.append(block[:left].mean(axis=1, dtype=np.float32))
        left -= len(parts[-1])
        if left <= 0:
            break
    return np.concatenate(parts)
