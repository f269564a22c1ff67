"""The door to audio files: open one, get blocks of clean samples and a list of what was wrong with it."""

import os
import stat
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from workers.audio.container import Container, holds_more, identify, looks_truncated
from workers.audio.decoders import Block, Decoder, DecoderError, FfmpegDecoder, SndfileDecoder
from workers.audio.errors import (
    CorruptAudioError,
    EmptyFileError,
    MissingFileError,
    NotAudioError,
    TooLongError,
    UnreadableFileError,
)

Path = str | bytes | os.PathLike[str]
_Opener = Callable[[BinaryIO], Decoder]

MAX_SECONDS = 12 * 3600.0
# Samples of a sane file stay within +-1, of a hot float mix within +-2; a damaged MP3 decodes to 20.
MAX_SAMPLE = 4.0
# Encoders round the declared length to a packet or a frame, far below this share of a track.
_PLAUSIBLE_SHARE = 0.98

# Speech codecs at their lowest rate; silence in FLAC takes less and is then counted as it is decoded.
_FEWEST_BYTES_A_SECOND = 250

_FFMPEG_FIRST = (Container.OPUS, Container.MP4, Container.ADTS, Container.OTHER, Container.UNKNOWN)


def open_audio(
    path: Path, *, max_seconds: float = MAX_SECONDS, admit: Callable[[bytes], None] | None = None
) -> "AudioStream":
    """Open an audio file for streaming.

    Args:
        path: the file's name, as text (surrogate escapes allowed) or as bytes.
        max_seconds: recordings longer than this raise `TooLongError`, at once where the header says so.
        admit: called with the real path of the open file before a byte of it is read; what it raises comes out.

    Raises:
        MissingFileError, UnreadableFileError, EmptyFileError: the path or the file itself.
        NotAudioError: no known audio format.
        CorruptAudioError: a known format that no decoder can open.
        TooLongError: longer than `max_seconds`.
    """
    file = _open_file(path)
    try:
        if admit is not None:
            admit(_real_path(file))
        return AudioStream(file, max_seconds=max_seconds)
    except BaseException:
        file.close()
        raise


def _open_file(path: Path) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a FIFO would block, a device may never end
            raise UnreadableFileError(f"{_name(path)} is not a regular file")
        file = open(path, "rb")  # noqa: SIM115 - the stream owns it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{_name(path)} does not exist") from error
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{_name(path)} cannot be read: {error.__class__.__name__}") from error
    return file


def _real_path(file: BinaryIO) -> bytes:
    """Return where an open file is now, with no symlink left in it, whatever its name leads to by now."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % file.fileno())
    except OSError:  # no /proc here
        return os.path.realpath(os.fsencode(file.name))


def _name(path: Path) -> str:
    return ascii(os.path.basename(os.fsdecode(path)))


class AudioStream:
    """Blocks of decoded samples, and what is known about their source.

    Attributes:
        rate: samples a second, as stored.
        channels: channels, as stored.
        container, codec: short lower-case words of the decoder.
        decoder: name and version of the decoder in use, such as "libsndfile 1.2.2".
        warnings: codes collected so far, complete once `blocks` ended: `truncated` (the file ends early),
            `damaged` (invalid data was skipped), `clipped` (samples beyond +-4) and
            `non_finite_samples_repaired` (NaN or Inf, set to zero).
        frames: frames yielded so far.
        clipped_samples, non_finite_samples: how many samples were clipped or set to zero.
    """

    def __init__(self, file: BinaryIO, *, max_seconds: float = MAX_SECONDS) -> None:
        self._file = file
        self._max_seconds = max_seconds
        self._label = _name(file.name)
        if not os.fstat(file.fileno()).st_size:
            raise EmptyFileError(f"{self._label} is empty")
        self._kind = identify(file)
        self._cut = looks_truncated(file, self._kind)
        # libmpg123 believes the length in the first frame and stops there
        self._longer = holds_more(file, self._kind)
        self._current, self._spare = self._open_decoder()
        self.rate, self.channels = self._current.rate, self._current.channels
        self.warnings: list[str] = []
        self.frames = self.clipped_samples = self.non_finite_samples = 0
        self._check_length(self._believable_frames())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the decoder and the file."""
        self._current.close()
        self._file.close()

    @property
    def decoder(self) -> str:
        """Name and version of the decoder in use; it changes when the second one takes over."""
        return self._current.name

    @property
    def container(self) -> str:
        """Container, as the decoder in use names it."""
        return self._current.container

    @property
    def codec(self) -> str:
        """Codec, as the decoder in use names it."""
        return self._current.codec

    def blocks(self) -> Iterator[Block]:
        """Yield float32 blocks of shape (about 64k frames, channels), each valid until the next is asked for.

        Raises:
            CorruptAudioError, EmptyFileError: nothing could be decoded.
            TooLongError: more than `max_seconds` were decoded.
        """
        yield from self._drain(skip=0)
        if self._fell_short() and self._switch_decoder():
            yield from self._drain(skip=self.frames)
        self._conclude()

    def _open_decoder(self) -> tuple[Decoder, _Opener | None]:
        order: list[_Opener] = [SndfileDecoder, FfmpegDecoder]
        if self._longer or self._kind in _FFMPEG_FIRST:
            order.reverse()
        for decoder, spare in zip(order, (order[1], None), strict=True):
            try:
                return self._accept(decoder(self._file)), spare
            except DecoderError:
                continue
        if self._kind is Container.UNKNOWN:
            raise NotAudioError(f"{self._label} is in no audio format we know")
        raise CorruptAudioError(f"{self._label} looks like {self._kind} but no decoder can open it")

    def _accept(self, decoder: Decoder) -> Decoder:
        # both decoders see MPEG frames in random bytes; `identify` demands a chain of them
        if self._kind is Container.UNKNOWN and decoder.container in ("mp3", "mpeg", "aac"):
            decoder.close()
            raise DecoderError("no chain of MPEG frames")
        return decoder

    def _drain(self, *, skip: int) -> Iterator[Block]:
        for block in self._current.blocks():
            fresh = block[skip:] if skip else block
            skip = max(0, skip - len(block))
            if len(fresh):
                self.frames += len(fresh)
                self._check_length(self.frames)
                yield self._clean(fresh)

    def _clean(self, block: Block) -> Block:
        highest, lowest = float(block.max()), float(block.min())
        if lowest >= -MAX_SAMPLE and highest <= MAX_SAMPLE:  # false for NaN as well
            return block
        finite = np.isfinite(block)
        repaired = np.where(finite, block, np.float32(0))
        self.non_finite_samples += self._count("non_finite_samples_repaired", ~finite)
        self.clipped_samples += self._count("clipped", np.abs(repaired) > MAX_SAMPLE)
        return np.clip(repaired, -MAX_SAMPLE, MAX_SAMPLE)

    def _count(self, warning: str, wrong: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> int:
        count = int(np.count_nonzero(wrong))
        if count:
            self._warn(warning)
        return count

    def _warn(self, code: str) -> None:
        if code not in self.warnings:
            self.warnings.append(code)

    def _believable_frames(self) -> int:
        """Return the declared length, 0 where the bytes could hardly hold it: headers are damaged as well."""
        frames = self._current.expected_frames or 0
        seconds = frames / self.rate
        return frames if seconds * _FEWEST_BYTES_A_SECOND < os.fstat(self._file.fileno()).st_size else 0

    def _check_length(self, frames: int) -> None:
        if frames > self._max_seconds * self.rate:
            self.close()
            raise TooLongError(f"{self._label} is longer than {self._max_seconds:g} seconds")

    def _fell_short(self) -> bool:
        expected = self._current.expected_frames
        return self._current.damaged or (expected is not None and self.frames < _PLAUSIBLE_SHARE * expected)

    def _switch_decoder(self) -> bool:
        """Hand over to the second decoder, if it agrees on the format; False keeps the first."""
        if self._current.damaged:
            self._warn("damaged")
        if self._spare is None:
            return False
        try:
            other = self._accept(self._spare(self._file))
        except DecoderError:
            return False
        self._spare = None
        if (other.rate, other.channels) != (self.rate, self.channels):
            other.close()
            return False
        self._current.close()
        self._current = other
        return True

    def _conclude(self) -> None:
        if not self.frames:
            self._explain_nothing()
        if self._current.damaged:
            self._warn("damaged")
        if self._cut or self._fell_short():
            self._warn("truncated")

    def _explain_nothing(self) -> None:
        if self._current.expected_frames == 0 and not self._cut:
            raise EmptyFileError(f"{self._label} holds no samples")
        raise CorruptAudioError(f"{self._label} looks like {self._kind} but nothing in it can be decoded")
