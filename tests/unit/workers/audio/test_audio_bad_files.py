"""What cannot be analysed is refused with one stable code, without a sound."""

import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workers.audio import decode
from workers.audio.decode import open_audio
from workers.audio.decoders import DecoderError, FfmpegDecoder, SndfileDecoder
from workers.audio.errors import (
    AudioError,
    CorruptAudioError,
    EmptyFileError,
    MissingFileError,
    NotAudioError,
    TooLongError,
    UnreadableFileError,
)
from workers.audio.instruments import RATE
from workers.audio.quiet import quiet_stderr

from .conftest import Floats, Writer

_CHANCE = random.Random(11)
_NOISE = _CHANCE.randbytes(200_000)


@pytest.fixture(autouse=True)
def _nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr().err == ""


def _drain(path: Path) -> None:
    with open_audio(path) as stream:
        for _ in stream.blocks():
            pass


def test_a_path_where_nothing_is_counts_as_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        open_audio(tmp_path / "gone.mp3")

    assert caught.value.code == "missing"
    assert "gone.mp3" in caught.value.message


def test_a_path_through_a_file_counts_as_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MissingFileError):
        open_audio(tmp_path / "file" / "song.mp3")


def test_a_directory_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError):
        open_audio(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")

    with pytest.raises(UnreadableFileError):
        open_audio(tmp_path / "pipe.wav")


def test_a_file_without_permission_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # root may read anything, so the refusal itself is played
    path = tmp_path / "secret.wav"
    path.write_bytes(b"RIFF")

    def refuse(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(decode, "open", refuse, raising=False)

    with pytest.raises(UnreadableFileError):
        open_audio(path)


def test_a_name_with_a_null_byte_is_unreadable() -> None:
    with pytest.raises(UnreadableFileError):
        open_audio("a\0b.wav")


def test_a_file_of_no_bytes_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.mp3").touch()

    with pytest.raises(EmptyFileError):
        open_audio(tmp_path / "empty.mp3")


def test_a_valid_header_without_samples_is_empty(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 2)), RATE)

    with pytest.raises(EmptyFileError):
        _drain(tmp_path / "none.wav")


@pytest.mark.parametrize(
    "content",
    [
        b"Once upon a time there was a text that called itself music.\n" * 500,
        b'{"not": "audio"}',
        b"1\n00:00:01,000 --> 00:00:02,000\nsubtitles\n\n" * 40,
        _NOISE,
        bytes(50_000),
        b"ID3\x04\x00\x00\x00\x00\x10\x00" + _NOISE[:30_000],
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + _NOISE[:30_000],
        b"\xff\xfb",
    ],
    ids=["text", "json", "subtitles", "random", "zeros", "id3_then_random", "jpeg", "two_bytes"],
)
@pytest.mark.parametrize("suffix", ["mp3", "wav"])
def test_bytes_of_no_audio_format_are_not_audio_whatever_the_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"renamed.{suffix}"
    path.write_bytes(content)

    with pytest.raises(NotAudioError):
        _drain(path)


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF" + _NOISE[:4000],
        b"fLaC" + _NOISE[:4000],
        b"OggS" + _NOISE[:4000],
        b"OggS" + bytes(24) + b"OpusHead" + _NOISE[:4000],
        b"FORM" + _NOISE[:4000],
        b"\0\0\0\x20ftypM4A " + _NOISE[:4000],
    ],
    ids=["wav", "flac", "ogg", "opus", "aiff", "m4a"],
)
def test_a_known_header_before_garbage_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.bin"
    path.write_bytes(content)

    with pytest.raises(CorruptAudioError):
        _drain(path)


@pytest.mark.parametrize("suffix", ["flac", "ogg", "opus", "m4a"])
def test_a_file_cut_inside_its_header_is_corrupt(write: Writer, music: Floats, suffix: str) -> None:
    path = write(f"head.{suffix}", music, 48000)
    path.write_bytes(path.read_bytes()[:180])

    with pytest.raises(CorruptAudioError):
        _drain(path)


def test_a_header_longer_than_the_limit_is_refused_at_once(write: Writer, music: Floats) -> None:
    path = write("long.wav", music)

    with pytest.raises(TooLongError):
        open_audio(path, max_seconds=2)


def test_a_header_that_claims_days_is_not_believed(write: Writer, music: Floats) -> None:
    path = write("claim.flac", music)
    data = bytearray(path.read_bytes())
    data[22:26] = b"\xff\xff\xff\xff"  # the total of samples in STREAMINFO
    path.write_bytes(data)

    with open_audio(path) as stream:
        frames = sum(len(block) for block in stream.blocks())

    assert frames == len(music)


def test_a_stream_that_turns_out_longer_than_the_limit_is_stopped(write: Writer, music: Floats) -> None:
    path = write("long.aac", music)

    with open_audio(path, max_seconds=2) as stream, pytest.raises(TooLongError):
        list(stream.blocks())


@pytest.mark.parametrize("decoder", [SndfileDecoder, FfmpegDecoder])
def test_a_decoder_says_when_it_cannot_open_a_file(
    tmp_path: Path, decoder: type[SndfileDecoder] | type[FfmpegDecoder]
) -> None:
    path = tmp_path / "noise"
    path.write_bytes(b"no audio here" * 100)

    with path.open("rb") as file, pytest.raises(DecoderError):
        decoder(file)


@pytest.mark.parametrize("error", AudioError.__subclasses__())
def test_errors_travel_between_processes_with_their_code(error: type[AudioError]) -> None:
    copy = pickle.loads(pickle.dumps(error("a sentence")))

    assert type(copy) is error
    assert (copy.code, copy.message, str(copy)) == (error.code, "a sentence", "a sentence")


def test_codes_are_unique() -> None:
    codes = [error.code for error in AudioError.__subclasses__()]

    assert sorted(codes) == sorted({"missing", "unreadable", "empty_file", "not_audio", "corrupt", "too_long"})


def test_silencing_stderr_nests_and_ends() -> None:
    before = os.fstat(2)

    with quiet_stderr(), quiet_stderr():
        os.write(2, b"noise of a C library")

    assert os.fstat(2).st_ino == before.st_ino
