"""Decoders inside the process: libsndfile for most formats, FFmpeg's libraries for the rest and for damaged files."""

import errno
import io
import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate
from typing import BinaryIO, Protocol

import av
import av.container
import numpy as np
import soundfile
from numpy.typing import NDArray

from workers.audio.quiet import quiet_stderr
from workers.audio.survey import Spans

BLOCK_FRAMES = 65536
"""Frames in a block; a recording of more than eight channels has shorter ones, for the same memory."""

AUDIO_FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,ast,au,avi,avr,caf,dsf,dts,dtshd,eac3,flac,flv,iff,ircam,matroska,mlp,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,nistsphere,nut,ogg,oma,rm,rso,shn,sox,tak,truehd,tta,voc,w64,wav,webm,wsaud,wtv,wv,xwma"
)
"""The demuxers of FFmpeg that may see a file: those of playlists would open the files that it names."""

MIN_RATE, MAX_RATE = 1000, 3_000_000
"""Samples a second in any recording; a header outside is damaged, and resampling from it would fill the memory."""

# Each error moves the demuxer on; a file with more of them holds nothing worth the time.
_MAX_DEMUX_ERRORS = 100
# Samples of one channel that one frame may become: damaged headers state any rate.
_MAX_CONVERTED = 1 << 22

Block = NDArray[np.float32]


class DecoderError(Exception):
    """This decoder cannot open the file; another may."""


class NoSoundError(DecoderError):
    """The file is whole as far as the decoder can tell, and nothing in it is sound that it knows."""


class Decoder(Protocol):
    """A source of float32 blocks of shape (frames, channels)."""

    name: str
    container: str
    codec: str
    rate: int
    channels: int
    expected_frames: int | None  # what the container declares, None where it does not
    damaged: bool  # some of the data was invalid
    stopped: bool  # an error ended the decoding
    converted: bool  # some of the data had another rate or layout

    def blocks(self) -> Iterator[Block]:
        """Yield blocks of at most BLOCK_FRAMES frames; the memory may be reused for the next."""

    def close(self) -> None:
        """Release the decoder; the file stays the caller's."""


def check_rate(rate: int) -> None:
    """Raise `DecoderError` for a rate that no recording has."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise DecoderError(f"{rate} samples a second")


def block_frames(channels: int) -> int:
    """Return the frames in a block of this many channels."""
    return BLOCK_FRAMES if channels <= 8 else BLOCK_FRAMES * 8 // channels


class _Forward(soundfile.SoundFile):  # type: ignore[misc]  # the library is untyped
    """A sound file that is read from start to end.

    soundfile seeks to where it is after each read. In MP3 that decodes some frames again, without the bits that they
    borrow from earlier ones: samples came to depend on the size of blocks, at a fifth more time.
    """

    def seekable(self) -> bool:
        return False


class SndfileDecoder:
    """libsndfile: WAV, AIFF, FLAC, Ogg and MPEG audio, from an open file descriptor.

    A descriptor in place of a name keeps names that are not UTF-8 out of C.
    """

    def __init__(self, file: BinaryIO) -> None:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        with quiet_stderr():
            try:
                self._file = _Forward(file.fileno(), closefd=False)
            except soundfile.SoundFileError as error:
                raise DecoderError(str(error)) from error
        self.name = f"libsndfile {soundfile.__libsndfile_version__}"
        self.container = str(self._file.format).lower()
        self.codec = str(self._file.subtype).lower()
        self.rate, self.channels = int(self._file.samplerate), int(self._file.channels)
        self.expected_frames: int | None = int(self._file.frames)
        self.damaged = self.stopped = self.converted = False
        self._may_fail = self.container in ("flac", "mp3", "mpeg")
        try:
            check_rate(self.rate)
        except DecoderError:
            self.close()
            raise

    def blocks(self) -> Iterator[Block]:
        """Yield blocks until the end or the first error."""
        buffer = np.empty((block_frames(self.channels), self.channels), np.float32)
        while len(block := self._read(buffer)):
            yield block
            if self.stopped:
                return

    def _read(self, buffer: Block) -> Block:
        if self._may_fail:
            buffer.fill(np.nan)
        try:
            with self._guard():
                block: Block = self._file.read(out=buffer)
        except soundfile.SoundFileError:
            self.damaged = self.stopped = True
            # what was decoded before the error is there, only its length is not told
            return buffer[: int(np.count_nonzero(~np.isnan(buffer[:, 0])))] if self._may_fail else buffer[:0]
        return block

    def _guard(self) -> AbstractContextManager[None]:
        # only libmpg123 prints, and the redirection costs four system calls
        return quiet_stderr() if self.container in ("mp3", "mpeg") else nullcontext()

    def close(self) -> None:
        """Close libsndfile's handle."""
        with self._guard():
            self._file.close()


class FfmpegDecoder:
    """FFmpeg's libraries through PyAV: Opus, AAC and everything else; invalid packets are skipped.

    Args:
        file: the open file.
        parts: the streams in it that follow each other, such as the links of a chained Ogg file, each by the bytes
            worth reading, such as whole MPEG frames. Empty for the whole file as one.
    """

    def __init__(self, file: BinaryIO, parts: tuple[Spans, ...] = ()) -> None:
        self._file, self._parts = file, parts[1:]
        self._open(parts[0] if parts else None)
        context = self._stream.codec_context
        self.name = f"FFmpeg libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
        self.container, self.codec = self._container.format.name, context.name
        self.rate, self.channels = int(context.sample_rate or 0), context.channels
        if not self.channels:
            raise DecoderError("the stream states no channels")
        check_rate(self.rate)
        self.expected_frames = self._declared_frames()
        self.damaged = self.stopped = self.converted = False
        self._layout = context.layout
        self._source: tuple[str, str, int] | None = None
        self._converter: av.AudioResampler | None = None

    def _open(self, spans: Spans | None) -> None:
        # av.open closes what it is given, so it gets its own view of the bytes
        view = _Borrowed(self._file) if spans is None else _Pieces(self._file, spans)
        options = {"format_whitelist": AUDIO_FORMATS}
        try:
            self._container = av.open(view, "r", metadata_errors="ignore", container_options=options)
            self._stream = _first_sound(self._container)
            self._stream.codec_context.open(strict=False)
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            raise DecoderError(str(error)) from error

    def _declared_frames(self) -> int | None:
        duration, base = self._stream.duration, self._stream.time_base
        # raw streams have no header: FFmpeg then extrapolates from the bit rate, which promises nothing
        if duration is None or not base or self._container.format.name in ("mp3", "aac", "adts"):
            return None
        return int(duration * base * self.rate)

    def blocks(self) -> Iterator[Block]:
        """Yield blocks, gathering FFmpeg's frames of about a thousand samples."""
        held: list[Block] = []
        count, enough = 0, block_frames(self.channels)
        for piece in self._pieces():
            held.append(piece)
            count += len(piece)
            if count >= enough:
                yield np.concatenate(held)
                held, count = [], 0
        if held:
            yield np.concatenate(held)

    def _pieces(self) -> Iterator[Block]:
        yield from self._decoded()
        for spans in self._parts:
            self._container.close()
            try:
                self._open(spans)
            except DecoderError:
                self.damaged = True
            else:
                yield from self._decoded()

    def _decoded(self) -> Iterator[Block]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.FFmpegError, MemoryError):
                self.damaged = True
                continue
            for frame in frames:
                yield from filter(len, self._samples(frame))

    def _packets(self) -> "Iterator[av.Packet[av.AudioStream]]":
        """Yield packets; after a demuxing error start again behind it, a limited number of times."""
        for _ in range(_MAX_DEMUX_ERRORS):
            try:
                yield from self._container.demux(self._stream)
                return
            except (av.FFmpegError, OSError, MemoryError):
                self.damaged = True
        self.stopped = True

    def _samples(self, frame: av.AudioFrame) -> Iterator[Block]:
        """Yield a frame's samples as float32 of shape (frames, channels), in the rate and layout of the first."""
        form, is_alike = frame.format, (frame.sample_rate, frame.layout.nb_channels) == (self.rate, self.channels)
        # PyAV 18 looks for the end of a list of planes behind its end: eight of them end the process
        is_safe = form.name in _FAST_FORMATS and (form.is_packed or self.channels < 8)
        if is_alike and is_safe:
            raw = frame.to_ndarray()
            yield _to_float(raw.T if form.is_planar else raw.reshape(-1, self.channels))
        else:
            self.converted = self.converted or not is_alike
            yield from self._converted(frame)

    def _converted(self, frame: av.AudioFrame) -> Iterator[Block]:
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if not frame.sample_rate or frame.samples * self.rate > _MAX_CONVERTED * frame.sample_rate:
            self.damaged = True
            return
        try:
            if self._converter is None or source != self._source:
                self._source, self._converter = source, av.AudioResampler("flt", self._layout, self.rate)
            frame.pts = None
            for part in self._converter.resample(frame):
                yield _to_float(part.to_ndarray().reshape(-1, self.channels))
        except (av.FFmpegError, ValueError, MemoryError):
            self.damaged = True

    def close(self) -> None:
        """Close FFmpeg's demuxer and decoder."""
        self._container.close()


def _first_sound(container: av.container.InputContainer) -> av.AudioStream:
    if not len(container.streams):
        raise DecoderError("it holds no stream")
    if not container.streams.audio:
        raise NoSoundError("it holds no sound")
    stream = container.streams.audio[0]
    if stream.codec_context is None:  # PyAV has none for a codec that this FFmpeg does not know
        raise NoSoundError("the codec of its sound is unknown or encrypted")
    return stream


# What PyAV hands over as an array as it is.
_FAST_FORMATS = frozenset(("u8", "u8p", "s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp"))


class _Borrowed(io.RawIOBase):
    """A file whose closing is left to its owner.

    PyAV prints what is raised in here where FFmpeg goes on regardless, so errors are returned as FFmpeg's own.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except OSError:
            return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL

    def tell(self) -> int:
        return self._file.tell()


class _Pieces(_Borrowed):
    """Some pieces of a file, as if they were all of it."""

    def __init__(self, file: BinaryIO, spans: Spans) -> None:
        super().__init__(file)
        self._starts = [start for start, _ in spans]
        self._ends = list(accumulate(end - start for start, end in spans))  # in the view
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        piece = bisect_right(self._ends, self._at)
        if piece == len(self._ends):
            return b""
        left = self._ends[piece] - self._at
        begin = self._ends[piece - 1] if piece else 0
        super().seek(self._starts[piece] + self._at - begin)
        found = super().read(left if size < 0 else min(size, left))
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        target = offset + (0, self._at, self._ends[-1])[whence]
        if target < 0:
            return -errno.EINVAL
        self._at = target
        return target

    def tell(self) -> int:
        return self._at


def _to_float(samples: NDArray[np.generic]) -> Block:
    if samples.dtype.kind == "f":
        return np.ascontiguousarray(samples, np.float32)
    full_scale = np.float32(2 ** (8 * samples.dtype.itemsize - 1))
    offset = full_scale if samples.dtype.kind == "u" else np.float32(0)
    return np.ascontiguousarray((samples.astype(np.float32) - offset) / full_scale)
