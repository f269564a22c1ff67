"""The door to audio files: open one, get blocks of clean samples and a list of what was wrong with it."""

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import BinaryIO, Self

import av
import numpy as np
import soundfile

from workers.audio.container import Container, identify
from workers.audio.decoders import Block, Decoder, DecoderError, FfmpegDecoder, NoSoundError, SndfileDecoder
from workers.audio.errors import (
    AudioError,
    CorruptAudioError,
    EmptyFileError,
    MissingFileError,
    NotAudioError,
    TooLongError,
    UnreadableFileError,
)
from workers.audio.ffmpeg import CommandDecoder, command_version
from workers.audio.survey import survey

Path = str | bytes | os.PathLike[str]
_Opener = Callable[[BinaryIO], Decoder]

MAX_SECONDS = 12 * 3600.0
# Samples of a sane file stay within +-1, of a hot float mix within +-2; a damaged MP3 decodes to 20.
MAX_SAMPLE = 4.0
# Encoders round the declared length to a packet or a frame, far below this share of a track.
_PLAUSIBLE_SHARE = 0.98
# An MPEG encoder's delay and padding, and a frame that holds only the Xing header, are no samples: four frames.
_CODEC_FRAMES = 4608

# Speech codecs at their lowest rate; silence in FLAC takes less and is then counted as it is decoded.
_FEWEST_BYTES_A_SECOND = 250

# Raised whenever a file may fare otherwise than before with the same libraries.
_REVISION = 2

_FFMPEG_FIRST = (Container.OPUS, Container.MP4, Container.ADTS, Container.OTHER, Container.UNKNOWN)


class _StopsEarly(DecoderError):
    """The decoder opens the file, but would not reach its end."""


def decoders() -> str:
    """Return what decodes files here, with versions: a file that failed may be tried again once this changes."""
    versions = f"libsndfile {soundfile.__libsndfile_version__}, PyAV {av.__version__}, ffmpeg {command_version()}"
    return f"{versions}, revision {_REVISION}"


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
        _check_regular(path, os.stat(path))  # opening a device may move it
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the stream owns it
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f"{_name(path)} does not exist") from error
    except (OSError, ValueError) as error:
        raise UnreadableFileError(f"{_name(path)} cannot be read: {error.__class__.__name__}") from error
    try:
        _check_regular(path, os.fstat(file.fileno()))  # it may have been replaced in between
    except UnreadableFileError:
        file.close()
        raise
    return file


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableFileError(f"{_name(path)} is not a regular file")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a FIFO without a writer opens as well, in place of waiting for one."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


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
            `damaged` (some of the data is invalid), `format_changes` (rate or channels change on the way, and the rest
            was converted), `clipped` (samples beyond +-4) and `non_finite_samples_repaired` (NaN or Inf, set to zero).
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
        self._survey = survey(file, self._kind)
        self._spares = self._openers()
        self._current = self._open_decoder()
        self.rate, self.channels = self._current.rate, self._current.channels
        self.warnings: list[str] = []
        self.frames = self.clipped_samples = self.non_finite_samples = 0
        self._check_length(self._expected_frames() or 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def file(self) -> BinaryIO:
        """The open file, for what it says of itself; read it behind the last block only."""
        return self._file

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
        while self._should_go_on() and self._switch_decoder():
            before = self.frames
            yield from self._drain(skip=before)
            if self.frames > before > 0:  # there was more behind what the first could not decode
                self._warn("damaged")
        self._conclude()

    def _openers(self) -> list[_Opener]:
        order: list[_Opener] = [SndfileDecoder, partial(FfmpegDecoder, parts=self._survey.parts)]
        if self._kind in _FFMPEG_FIRST:
            order.reverse()
        if self._kind is not Container.UNKNOWN:  # a process for each text file would be dear
            order.append(CommandDecoder)
        return order

    def _open_decoder(self) -> Decoder:
        is_soundless = is_early = False
        while self._spares:
            opener = self._spares.pop(0)
            try:
                return self._accept(opener(self._file))
            except NoSoundError:
                is_soundless = True
            except _StopsEarly:
                is_early = True
            except DecoderError:
                continue
        if is_early:  # part of it is better than nothing
            return SndfileDecoder(self._file)
        raise self._explain_refusal(is_soundless)

    def _explain_refusal(self, is_soundless: bool) -> AudioError:
        if self._survey.is_cut:
            reason = self._survey.remark or "its end is missing, and what is left cannot be decoded"
            return CorruptAudioError(f"{self._label} is a truncated {self._kind} file: {reason}")
        if is_soundless:
            return NotAudioError(f"{self._label} holds no sound, or none in a codec we know")
        if self._kind is Container.UNKNOWN:
            return NotAudioError(f"{self._label} is in no audio format we know")
        return CorruptAudioError(f"{self._label} looks like {self._kind} but no decoder can open it")

    def _accept(self, decoder: Decoder) -> Decoder:
        # both decoders see MPEG frames in random bytes; `identify` demands a chain of them
        if self._kind is Container.UNKNOWN and decoder.container in ("mp3", "mpeg", "aac"):
            decoder.close()
            raise DecoderError("no chain of MPEG frames")
        if isinstance(decoder, SndfileDecoder) and self._stops_early(decoder):
            decoder.close()
            raise _StopsEarly("part of the file would be missing")
        return decoder

    def _stops_early(self, decoder: SndfileDecoder) -> bool:
        """Say whether libsndfile would believe a wrong length, or end with the first of several streams in a row."""
        seconds = self._survey.seconds
        if self._kind is Container.OGG or seconds is None:  # damaged Ogg is shorter, and FFmpeg loses more of it
            return len(self._survey.parts) > 1
        return (decoder.expected_frames or 0) < _PLAUSIBLE_SHARE * seconds * decoder.rate - _CODEC_FRAMES

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

    def _expected_frames(self) -> int | None:
        """Return the length, None where nobody knows it or the bytes could hardly hold it: headers lie as well."""
        frames = self._current.expected_frames
        is_one_ogg = self._kind in (Container.OGG, Container.OPUS) and not self._survey.parts
        if self._survey.seconds is not None and (frames is None or not is_one_ogg):
            frames = round(self._survey.seconds * self.rate)
        if frames is None:
            return None
        seconds = frames / self.rate
        return frames if seconds * _FEWEST_BYTES_A_SECOND < os.fstat(self._file.fileno()).st_size else None

    def _check_length(self, frames: int) -> None:
        if frames > self._max_seconds * self.rate:
            self.close()
            raise TooLongError(f"{self._label} is longer than {self._max_seconds:g} seconds")

    def _fell_short(self) -> bool:
        expected = self._expected_frames()
        slack = _CODEC_FRAMES if self._survey.seconds is not None else 0
        return expected is not None and self.frames < _PLAUSIBLE_SHARE * expected - slack

    def _should_go_on(self) -> bool:
        """Say whether another decoder may find more than the current one did."""
        current = self._current
        if not self.frames:
            return current.expected_frames != 0 or self._survey.seconds is not None
        if current.stopped:
            return not self._is_complete()
        is_explained = self._survey.is_cut or self._survey.is_damaged or current.damaged
        return self._fell_short() and not is_explained

    def _is_complete(self) -> bool:
        """Say whether all frames are there: an error behind the last is tags or padding."""
        expected = self._expected_frames()
        slack = _CODEC_FRAMES if self._survey.seconds is not None else 0
        return expected is not None and self.frames >= expected - slack

    def _switch_decoder(self) -> bool:
        """Hand over to the next decoder that agrees on the format; False keeps the current one."""
        while self._spares:
            opener = self._spares.pop(0)
            try:
                other = self._accept(opener(self._file))
            except DecoderError:
                continue
            if (other.rate, other.channels) == (self.rate, self.channels):
                self._current.close()
                self._current = other
                return True
            other.close()
        return False

    def _conclude(self) -> None:
        if not self.frames:
            self._explain_nothing()
        if self._survey.is_damaged or (self._current.damaged and not (self._current.stopped and self._is_complete())):
            self._warn("damaged")
        if self._survey.is_cut or self._fell_short():
            self._warn("truncated")
        if self._current.converted:
            self._warn("format_changes")

    def _explain_nothing(self) -> None:
        if self._survey.is_cut:
            raise self._explain_refusal(False)
        if self._current.expected_frames == 0 and self._survey.seconds is None:
            raise EmptyFileError(f"{self._label} holds no samples")
        raise CorruptAudioError(f"{self._label} looks like {self._kind} but nothing in it can be decoded")
