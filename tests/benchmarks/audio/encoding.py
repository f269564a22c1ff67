"""Writing samples in the formats that people have."""
# mypy: disable-error-code="import-untyped"

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

BY_LIBSNDFILE = ("mp3", "flac", "ogg", "wav")
SUFFIXES = (*BY_LIBSNDFILE, "opus", "m4a")

OPUS_RATE = 48000
_BLOCK = 1 << 15


def write(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    """Write samples of shape (frames, channels) in the format that the name ends in."""
    if path.suffix == ".m4a":
        _write_m4a(path, samples, rate)
    elif path.suffix == ".opus":
        _write_blocks(path, soxr.resample(samples, rate, OPUS_RATE, "MQ"), OPUS_RATE, "OGG", "OPUS")
    else:
        _write_blocks(path, samples, rate)


def _write_blocks(
    path: Path, samples: NDArray[np.float32], rate: int, form: str | None = None, subtype: str | None = None
) -> None:
    # libsndfile's Vorbis encoder overflows its stack on one long write
    with soundfile.SoundFile(path, "w", rate, samples.shape[1], subtype, format=form) as file:
        for start in range(0, len(samples), _BLOCK):
            file.write(samples[start : start + _BLOCK])


def _write_m4a(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="stereo")
        for start in range(0, len(samples), 1024):
            block = np.ascontiguousarray(samples[start : start + 1024].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
            frame.rate = rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
