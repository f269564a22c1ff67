"""Every file, however broken or odd, comes to a clean end: samples and warnings, or one stable code; never a sound."""

import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.broken_audio import CASES, SECONDS, WHOLE, Case, cut, patched
from tests.fuzz_audio import fuzz
from workers.audio import decode, ffmpeg
from workers.audio.decode import AudioStream, decoders, open_audio
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
from workers.audio.ffmpeg import CommandDecoder, command_version
from workers.audio.instruments import RATE
from workers.audio.quiet import quiet_stderr

from .conftest import Floats, Writer

_CHANCE = random.Random(11)
_NOISE = _CHANCE.randbytes(200_000)


@pytest.fixture(autouse=True)
def _nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr().err == ""


def _drain(path: Path) -> AudioStream:
    with open_audio(path) as stream:
        for block in stream.blocks():
            assert np.abs(block).max() <= decode.MAX_SAMPLE  # false for NaN as well
    return stream


def _code_of(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        _drain(path)
    return caught.value.code


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[-40:])
def test_the_catalogue_of_broken_and_odd_files_comes_out_as_expected(tmp_path: Path, case: Case) -> None:
    path = case.write(tmp_path)

    if case.code is not None:
        assert _code_of(path) == case.code
        return
    stream = _drain(path)

    least, most = case.seconds
    assert least <= stream.frames / stream.rate <= most
    assert case.warns <= set(stream.warnings) <= case.warns | case.may_warn


def test_the_catalogue_has_no_name_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 37


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_an_m4a_that_lost_its_index_is_told_what_it_lost(tmp_path: Path, share: float) -> None:
    path = tmp_path / "recording.m4a"
    path.write_bytes(cut(WHOLE["end.m4a"](), share))

    with pytest.raises(CorruptAudioError, match=r"truncated mp4.*moov.*cut off"):
        open_audio(path)


@pytest.mark.parametrize("name", ["wav", "flac", "ogg", "opus", "cbr_bare.mp3", "cbr.mp3", "aac", "front.m4a", "mka"])
@pytest.mark.parametrize("change", ["grows", "shrinks"])
def test_a_file_that_changes_while_it_is_read_comes_to_an_end(tmp_path: Path, name: str, change: str) -> None:
    path, whole = tmp_path / f"download.{name}", WHOLE[name]()
    path.write_bytes(cut(whole, 0.6))

    with open_audio(path) as stream:
        blocks = stream.blocks()
        next(blocks)
        if change == "grows":
            with path.open("ab") as more:
                more.write(whole[len(cut(whole, 0.6)) :])
        else:
            os.truncate(path, len(whole) // 3)
        for _ in blocks:
            pass

    assert 0.2 * SECONDS < stream.frames / stream.rate < 1.1 * SECONDS


def test_a_file_that_is_swapped_for_a_pipe_after_the_check_is_refused_without_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(WHOLE["wav"]())
    look, before = os.stat, len(os.listdir("/proc/self/fd"))

    def look_then_swap(name: str | Path) -> os.stat_result:
        seen = look(name)
        path.unlink()
        os.mkfifo(path)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", look_then_swap)
        with pytest.raises(UnreadableFileError):
            open_audio(path)

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile {}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-VERSION:3\n#EXTINF:9,\nfile://{}\n#EXT-X-ENDLIST\n",
    ],
    ids=["concat", "hls"],
)
@pytest.mark.parametrize("suffix", ["mp3", "m3u8"])
def test_a_playlist_opens_no_file_that_it_names(tmp_path: Path, playlist: str, suffix: str) -> None:
    (tmp_path / "secret.aac").write_bytes(WHOLE["aac"]())
    path = tmp_path / f"list.{suffix}"
    named = "secret.aac" if "ffconcat" in playlist else str(tmp_path / "secret.aac")
    path.write_text(playlist.format(named))

    assert _code_of(path) == "not_audio"


# The command as the last decoder

with_command = pytest.mark.skipif(command_version() is None, reason="no ffmpeg command on this machine")


class _Unable:
    """A decoder that can open nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        raise DecoderError("unable")


@with_command
@pytest.mark.parametrize("name", ["flac", "opus", "7.1.m4a"])
def test_the_ffmpeg_command_decodes_what_both_libraries_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / f"-odd name; $(touch x)\n.{name}"
    path.write_bytes(WHOLE[name]())
    expected = _drain(path)
    monkeypatch.setattr(decode, "SndfileDecoder", _Unable)
    monkeypatch.setattr(decode, "FfmpegDecoder", _Unable)

    stream = _drain(path)

    assert stream.decoder == f"ffmpeg {command_version()}"
    assert (stream.rate, stream.channels) == (expected.rate, expected.channels)
    assert stream.frames == pytest.approx(expected.frames, abs=2048)
    assert stream.warnings == []


@with_command
def test_the_command_agrees_with_the_libraries_on_every_sample(write: Writer, music: Floats) -> None:
    path = write("both.flac", music)

    with path.open("rb") as file:
        command = CommandDecoder(file)
        found = np.concatenate(list(command.blocks()))
        command.close()

    assert np.array_equal(found, soundfile.read(path, dtype="float32")[0])


@with_command
def test_the_command_says_in_a_sentence_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no audio here" * 100)

    with (tmp_path / "text").open("rb") as file, pytest.raises(DecoderError) as caught:
        CommandDecoder(file)

    assert "Invalid data" in str(caught.value)
    assert "/dev/fd" not in str(caught.value)
    assert "\n" not in str(caught.value)


@with_command
def test_a_command_that_is_left_in_the_middle_is_ended(write: Writer) -> None:
    path = write("long.wav", np.zeros((60 * RATE, 2), np.float32) + 0.1)

    with path.open("rb") as file:
        command = CommandDecoder(file)
        next(command.blocks())
        process = command._process
        command.close()

    assert process.returncode is not None


@with_command
def test_a_command_that_falls_silent_is_ended(write: Writer, music: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "_SILENCE_SECONDS", 0.0)

    with write("silent.flac", music).open("rb") as file:
        command = CommandDecoder(file)
        for _ in command.blocks():
            pass
        command.close()

    assert command.stopped
    assert command.damaged


def test_a_machine_without_the_command_gets_by_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.flac"
    path.write_bytes(b"fLaC" + _NOISE[:4000])
    monkeypatch.setenv("PATH", str(tmp_path))
    command_version.cache_clear()
    try:
        assert command_version() is None
        assert _code_of(path) == "corrupt"
        assert "ffmpeg None" in decoders()
    finally:
        command_version.cache_clear()


def test_part_of_a_chained_file_is_better_than_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "two.ogg"
    path.write_bytes(WHOLE["ogg"]() * 2)
    monkeypatch.setattr(decode, "FfmpegDecoder", _Unable)
    monkeypatch.setattr(decode, "CommandDecoder", _Unable)

    stream = _drain(path)

    assert stream.frames == pytest.approx(SECONDS * RATE, rel=0.01)
    assert stream.warnings == ["truncated"]


# Chance


def test_hundreds_of_mutated_files_neither_crash_nor_hang_nor_print(tmp_path: Path) -> None:
    found = fuzz(count=int(os.environ.get("BACKLINE_FUZZ_FILES", "150")), seed=11, folder=tmp_path)

    assert found.faults == {}
    assert found.outcomes["played"] > 0
    assert found.outcomes["corrupt"] > 0


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

    def refuse(*_: object, **__: object) -> None:
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
    path = write("long.flac", music)
    path.write_bytes(patched(path.read_bytes(), b"fLaC", 21, b"\xf0\0\0\0\0"))  # a total of samples that is unknown

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
