"""The two decoders: libsndfile for most formats, FFmpeg's libraries for the rest and for damaged files."""

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Protocol

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from workers.audio.quiet import quiet_stderr

BLOCK_FRAMES = 65536
# Each error moves the demuxer on; a file with more of them holds nothing worth the time.
_MAX_DEMUX_ERRORS = 100

Block = NDArray[np.float32]


class DecoderError(Exception):
    """This decoder cannot open the file; another may."""


class Decoder(Protocol):
    """A source of float32 blocks of shape (frames, channels)."""

    name: str
    container: str
    codec: str
    rate: int
    channels: int
    expected_frames: int | None  # what the container declares, None where it does not
    damaged: bool  # some of the data was invalid and skipped

    def blocks(self) -> Iterator[Block]:
        """Yield blocks of at most BLOCK_FRAMES frames; the memory may be reused for the next."""

    def close(self) -> None:
        """Release the decoder; the file stays the caller's."""


class SndfileDecoder:
    """libsndfile: WAV, AIFF, FLAC, Ogg and MPEG audio, from an open file descriptor.

    A descriptor in place of a name keeps names that are not UTF-8 out of C.
    """

    def __init__(self, file: BinaryIO) -> None:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        with quiet_stderr():
            try:
                self._file = soundfile.SoundFile(file.fileno(), closefd=False)
            except soundfile.SoundFileError as error:
                raise DecoderError(str(error)) from error
        self.name = f"libsndfile {soundfile.__libsndfile_version__}"
        self.container = str(self._file.format).lower()
        self.codec = str(self._file.subtype).lower()
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.expected_frames: int | None = int(self._file.frames)
        self.damaged = False

    def blocks(self) -> Iterator[Block]:
        """Yield blocks until the end or the first error."""
        buffer = np.empty((BLOCK_FRAMES, self.channels), np.float32)
        while len(block := self._read(buffer)):
            yield block

    def _read(self, buffer: Block) -> Block:
        try:
            with self._guard():
                block: Block = self._file.read(out=buffer)
        except soundfile.SoundFileError:
            self.damaged = True
            return buffer[:0]
        return block

    def _guard(self) -> AbstractContextManager[None]:
        # only libmpg123 prints, and the redirection costs four system calls
        return quiet_stderr() if self.container in ("mp3", "mpeg") else nullcontext()

    def close(self) -> None:
        """Close libsndfile's handle."""
        with self._guard():
            self._file.close()


class FfmpegDecoder:
    """FFmpeg's libraries through PyAV: Opus, AAC and everything else; invalid packets are skipped."""

    def __init__(self, file: BinaryIO) -> None:
        file.seek(0)
        try:
            # av.open closes what it is given, so it gets its own view of the bytes
            self._container = av.open(_Borrowed(file), "r", metadata_errors="ignore")
            self._stream = self._container.streams.audio[0]
            context = self._stream.codec_context
            context.open(strict=False)
        except (av.FFmpegError, IndexError, ValueError, AttributeError) as error:
            # AttributeError: PyAV gives a stream of an unknown codec no context
            raise DecoderError(str(error)) from error
        self.name = f"FFmpeg libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
        self.container, self.codec = self._container.format.name, context.name
        self.rate, self.channels = int(context.sample_rate or 0), context.channels
        if not self.rate or not self.channels:
            raise DecoderError("the stream states no sample rate or no channels")
        self.expected_frames = self._declared_frames()
        self.damaged = False

    def _declared_frames(self) -> int | None:
        duration, base = self._stream.duration, self._stream.time_base
        # raw streams have no header: FFmpeg then extrapolates from the bit rate, which promises nothing
        if duration is None or base is None or self._container.format.name in ("mp3", "aac", "adts"):
            return None
        return int(duration * base * self.rate)

    def blocks(self) -> Iterator[Block]:
        """Yield blocks, gathering FFmpeg's frames of about a thousand samples."""
        held: list[Block] = []
        count = 0
        for part in self._parts():
            held.append(part)
            count += len(part)
            if count >= BLOCK_FRAMES:
                yield np.concatenate(held)
                held, count = [], 0
        if held:
            yield np.concatenate(held)

    def _parts(self) -> Iterator[Block]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.damaged = True
                continue
            yield from filter(len, map(self._samples, frames))

    def _packets(self) -> "Iterator[av.Packet[av.AudioStream]]":
        """Yield packets; after a demuxing error start again behind it, a limited number of times."""
        for _ in range(_MAX_DEMUX_ERRORS):
            try:
                yield from self._container.demux(self._stream)
                return
            except (av.FFmpegError, OSError):
                self.damaged = True

    def _samples(self, frame: av.AudioFrame) -> Block:
        """Convert one frame to (frames, channels) float32; a frame of another shape is dropped."""
        raw = frame.to_ndarray()
        if frame.sample_rate != self.rate or len(frame.layout.channels) != self.channels:
            self.damaged = True
            return np.empty((0, self.channels), np.float32)
        shaped = raw.T if frame.format.is_planar else raw.reshape(-1, self.channels)
        return _to_float(shaped)

    def close(self) -> None:
        """Close FFmpeg's demuxer and decoder."""
        self._container.close()


class _Borrowed(io.RawIOBase):
    """A file whose closing is left to its owner."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _to_float(samples: NDArray[np.generic]) -> Block:
    if samples.dtype.kind == "f":
        return np.ascontiguousarray(samples, np.float32)
    full_scale = np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    offset = full_scale if samples.dtype.kind == "u" else np.float32(0)
    return np.ascontiguousarray((samples.astype(np.float32) - offset) / full_scale)
