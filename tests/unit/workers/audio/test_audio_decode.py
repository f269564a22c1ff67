"""Files of every format come out as clean float32 blocks with what is known about their source."""

import io
import os
import random
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from workers.audio import decoders
from workers.audio.decode import MAX_SAMPLE, AudioStream, open_audio
from workers.audio.decoders import BLOCK_FRAMES, FfmpegDecoder, SndfileDecoder, _Borrowed, _Pieces, _to_float
from workers.audio.errors import NotAudioError
from workers.audio.instruments import RATE

from .conftest import Floats, Writer


def _read(path: str | bytes | Path) -> tuple[Floats, AudioStream]:
    with open_audio(path) as stream:
        blocks = [block.copy() for block in stream.blocks()]
    return np.concatenate(blocks), stream


@pytest.mark.parametrize(
    ("suffix", "container", "decoder"),
    [
        ("wav", "wav", "libsndfile"),
        ("flac", "flac", "libsndfile"),
        ("aiff", "aiff", "libsndfile"),
        ("ogg", "ogg", "libsndfile"),
        ("mp3", "mp3", "libsndfile"),
        ("opus", "ogg", "FFmpeg"),
        ("m4a", "mov", "FFmpeg"),
        ("aac", "aac", "FFmpeg"),
    ],
)
def test_every_format_decodes_to_its_length_without_a_warning(
    write: Writer, music: Floats, suffix: str, container: str, decoder: str
) -> None:
    rate = 48000 if suffix == "opus" else RATE

    samples, stream = _read(write(f"song.{suffix}", music, rate))

    assert samples.dtype == np.float32
    assert samples.shape[1] == stream.channels == 2
    assert len(samples) == stream.frames == pytest.approx(len(music), rel=0.005)
    assert stream.rate == rate
    assert stream.container.startswith(container)
    assert stream.codec
    assert stream.decoder.startswith(decoder)
    assert stream.warnings == []


def test_lossless_samples_are_returned_as_written(write: Writer, music: Floats) -> None:
    samples, _ = _read(write("song.flac", music))

    assert np.abs(samples - music).max() < 1e-4


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_the_size_of_blocks_does_not_change_a_sample(
    write: Writer, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    # in swelling noise, MP3 frames borrow bits from earlier ones
    swell = np.abs(np.sin(np.arange(8 * RATE) / 30000)) ** 8
    path = write(f"noise.{suffix}", (np.random.default_rng(1).normal(0, 0.2, len(swell)) * swell).astype(np.float32))
    whole, _ = _read(path)

    monkeypatch.setattr(decoders, "BLOCK_FRAMES", 5000)
    parts, _ = _read(path)

    assert np.array_equal(parts, whole)


def test_blocks_are_bounded_however_long_the_file(write: Writer) -> None:
    path = write("long.wav", np.zeros((3 * BLOCK_FRAMES + 5, 1), np.float32) + 0.1)

    with open_audio(path) as stream:
        lengths = [len(block) for block in stream.blocks()]

    assert lengths == [BLOCK_FRAMES] * 3 + [5]


@pytest.mark.parametrize("suffix", ["wav", "mp3", "opus"])
def test_names_that_are_not_utf8_open_as_bytes_and_as_escaped_text(
    write: Writer, music: Floats, tmp_path: Path, suffix: str
) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9." + suffix.encode()
    os.rename(write(f"plain.{suffix}", music, 48000), name)

    as_bytes, _ = _read(name)
    as_text, _ = _read(os.fsdecode(name))

    assert len(as_bytes) == len(as_text) > 0


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (96000, 2), (48000, 6), (192000, 1)])
def test_unusual_rates_and_channel_counts_are_kept(write: Writer, rate: int, channels: int) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (rate, channels)).astype(np.float32)

    samples, stream = _read(write("odd.wav", noise, rate))

    assert (stream.rate, stream.channels) == (rate, channels)
    assert samples.shape == noise.shape


def test_non_finite_samples_become_zero_and_are_counted(write: Writer, music: Floats) -> None:
    broken = music.copy()
    broken[1000:1010, 0] = np.nan
    broken[2000, 1] = np.inf

    samples, stream = _read(write("nan.wav", broken))

    assert np.isfinite(samples).all()
    assert (samples[1000:1010, 0] == 0).all()
    assert stream.non_finite_samples == 11
    assert stream.warnings == ["non_finite_samples_repaired"]


def test_samples_far_beyond_full_scale_are_clipped_and_flagged(write: Writer, music: Floats) -> None:
    hot = music.copy()
    hot[500] = 20.0

    samples, stream = _read(write("hot.wav", hot))

    assert np.abs(samples).max() == MAX_SAMPLE
    assert stream.clipped_samples == 2
    assert stream.warnings == ["clipped"]


@pytest.mark.parametrize("suffix", ["mp3", "flac", "wav", "ogg", "aiff", "opus"])
def test_a_truncated_file_yields_what_is_there_and_says_so(write: Writer, music: Floats, suffix: str) -> None:
    path = write(f"whole.{suffix}", music, 48000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    samples, stream = _read(path)

    assert 0.3 * len(music) < len(samples) < 0.7 * len(music)
    assert "truncated" in stream.warnings


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "opus", "m4a", "aac"])
def test_flipped_bits_cost_part_of_a_file_but_never_the_process(
    write: Writer, music: Floats, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(f"flipped.{suffix}", music, 48000)
    data, chance = bytearray(path.read_bytes()), random.Random(3)
    for _ in range(6):
        data[chance.randrange(len(data) // 3, 2 * len(data) // 3)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)

    samples, _ = _read(path)

    assert len(samples) > 0.25 * len(music)
    assert np.abs(samples).max() <= MAX_SAMPLE
    assert capfd.readouterr().err == ""


def test_garbage_in_the_middle_of_a_flac_hands_over_to_the_second_decoder(write: Writer, music: Floats) -> None:
    path = write("garbage.flac", music)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = random.Random(5).randbytes(3000)
    path.write_bytes(data)

    samples, stream = _read(path)

    assert stream.decoder.startswith("FFmpeg")
    assert "damaged" in stream.warnings
    # what lies behind the garbage is there as well
    assert len(samples) > 0.9 * len(music)
    assert np.abs(samples[-1000:]).max() > 0


def test_an_mp3_with_junk_before_its_first_frame_still_plays(write: Writer, music: Floats) -> None:
    path = write("junk.mp3", music)
    tag = b"ID3\x04\x00\x00" + bytes((0, 0, 0x3F, 0)) + bytes(0x3F << 7)
    path.write_bytes(tag + path.read_bytes())

    samples, stream = _read(path)

    assert len(samples) == pytest.approx(len(music), rel=0.005)
    assert stream.warnings == []


def test_a_closed_stream_can_be_left_unread(write: Writer, music: Floats) -> None:
    with open_audio(write("unread.opus", music, 48000)) as stream:
        first = next(stream.blocks())

    assert len(first) >= BLOCK_FRAMES
    assert stream.frames == len(first)


def test_a_video_without_sound_is_not_audio(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 64
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))

    with pytest.raises(NotAudioError):
        open_audio(path)


def test_concatenated_mp3_files_play_to_the_end(write: Writer, music: Floats) -> None:
    path = write("twice.mp3", music)
    single = path.read_bytes()
    path.write_bytes(single * 4)

    samples, stream = _read(path)

    assert len(samples) == pytest.approx(4 * len(music), rel=0.02)
    assert "truncated" not in stream.warnings


def test_a_wav_whose_writer_never_knew_its_length_is_not_called_truncated(write: Writer, music: Floats) -> None:
    path = write("stream.wav", music)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)

    samples, stream = _read(path)

    assert len(samples) == len(music)
    assert stream.warnings == []


def test_both_decoders_agree_on_the_samples(write: Writer, music: Floats) -> None:
    path = write("both.flac", music)

    with path.open("rb") as first, path.open("rb") as second:
        one, other = SndfileDecoder(first), FfmpegDecoder(second)
        left = np.concatenate([block.copy() for block in one.blocks()])
        right = np.concatenate(list(other.blocks()))
        one.close()
        other.close()

    assert np.array_equal(left, right)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([[-32768], [16384]], np.int16), [-1.0, 0.5]),
        (np.array([[-(2**31)], [2**30]], np.int32), [-1.0, 0.5]),
        (np.array([[0], [192]], np.uint8), [-1.0, 0.5]),
        (np.array([[-1.0], [0.5]], np.float64), [-1.0, 0.5]),
    ],
)
def test_every_sample_type_maps_to_full_scale_one(stored: NDArray[np.generic], expected: list[float]) -> None:
    assert _to_float(stored)[:, 0].tolist() == expected


def test_a_stream_closes_its_file(write: Writer, music: Floats) -> None:
    before = len(os.listdir("/proc/self/fd"))
    path = write("closing.mp3", music[:RATE])

    for _ in range(3):
        _read(path)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_clip_of_a_fifth_of_a_second_is_a_valid_file(write: Writer, music: Floats) -> None:
    samples, stream = _read(write("clip.mp3", music[: RATE // 5]))

    assert len(samples) > 0
    assert stream.warnings == []


def test_pieces_of_a_file_read_as_if_they_were_all_of_it() -> None:
    view = _Pieces(io.BytesIO(b"..abc....de.f"), ((2, 5), (9, 11), (12, 13)))

    assert b"".join(iter(lambda: view.read(2), b"")) == b"abcdef"
    assert [view.seek(4), view.read(9), view.seek(-1, 2), view.read(9)] == [4, b"e", 5, b"f"]
    assert (view.seek(50), view.read(1)) == (50, b"")


@pytest.mark.parametrize("view", [_Borrowed(io.BytesIO(b"abc")), _Pieces(io.BytesIO(b"abc"), ((0, 3),))])
def test_a_seek_to_nowhere_is_an_error_code_as_pyav_prints_exceptions(view: _Borrowed) -> None:
    assert view.seek(-5) < 0
    assert view.read(1) == b"a"


def test_soundfile_is_the_library_we_name(write: Writer, music: Floats) -> None:
    _, stream = _read(write("song.wav", music[:RATE]))

    assert stream.decoder == f"libsndfile {soundfile.__libsndfile_version__}"
