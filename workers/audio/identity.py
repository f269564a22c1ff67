"""The identity of a recording: a hash of what is heard, not of how it is stored."""

import struct

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

# Changing what is hashed changes every identity, so the layout carries its own version.
_LAYOUT = b"backline/pcm-f32le/1"


class ContentHasher:
    """Hash decoded PCM as it streams by.

    The digest covers the rate, the channel count and the float32 little-endian interleaved samples. A WAV
    file and a FLAC file of the same 16-bit audio therefore share it, while tags and cover art do not touch
    it. Lossy formats share it only when the same decoder read the same bytes.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._hash = blake3(_LAYOUT + struct.pack("<II", rate, channels))

    def push(self, block: NDArray[np.float32]) -> None:
        """Add the next block, float32 of shape (frames, channels)."""
        samples = np.ascontiguousarray(block, dtype="<f4")
        self._hash.update(samples.reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        """Return the 64 hexadecimal digits of everything pushed so far."""
        return self._hash.hexdigest()
