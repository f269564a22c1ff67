"""A file's own bytes name its format, its length and what is missing of it."""

import io
import time

import pytest

from tests.broken_audio import WHOLE, ape, cut, flipped, id3, id3v1, with_junk
from workers.audio.container import Container, identify
from workers.audio.mpeg import frame_length
from workers.audio.survey import Survey, survey


def _survey(content: bytes) -> Survey:
    file = io.BytesIO(content)
    found = survey(file, identify(file))
    assert file.tell() == 0
    return found


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("fffb9064", 417),  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz
        ("fffb9264", 418),  # the same with padding
        ("fffbe064", 1044),  # 320 kbit/s
        ("fff384c4", 144 // 2 * 64000 // 24000),  # MPEG-2 layer III, 64 kbit/s, 24 kHz
        ("fffd9004", 144 * 160000 // 44100),  # MPEG-1 layer II
        ("ffff9004", 4 * (12 * 288000 // 44100)),  # MPEG-1 layer I
        ("fffbf064", None),  # bit rate index 15
        ("fffb0064", None),  # free format
        ("fffb9c64", None),  # reserved rate
        ("ffeb9064", None),  # reserved version
        ("fefb9064", None),  # no sync word
        ("ff", None),
    ],
)
def test_frame_lengths_follow_the_mpeg_tables(header: str, length: int | None) -> None:
    assert frame_length(bytes.fromhex(header).ljust(6, b"\0") if len(header) > 2 else b"\xff") == length


def test_an_adts_header_states_its_own_length() -> None:
    assert frame_length(bytes.fromhex("fff150800c3ffc")) == 97
    assert frame_length(bytes.fromhex("fff17c800c3ffc")) is None


@pytest.mark.parametrize(
    ("content", "container"),
    [
        (b"RIFF....WAVE", Container.WAV),
        (b"RF64....WAVE", Container.WAV),
        (b"FORM....AIFF", Container.AIFF),
        (b"fLaC", Container.FLAC),
        (b"OggS" + bytes(24) + b"\x01vorbis", Container.OGG),
        (b"OggS" + bytes(24) + b"OpusHead", Container.OPUS),
        (b"\0\0\0\x20ftypM4A ", Container.MP4),
        (b"wvpk", Container.OTHER),
        (b"ID3\x04\0\0\0\0\0\x05hellofLaC", Container.FLAC),
        (b"hello", Container.UNKNOWN),
        (b"", Container.UNKNOWN),
        ((bytes.fromhex("fffb9064") + bytes(413)) * 2, Container.MPEG),
        (b"xx" + (bytes.fromhex("fffb9064") + bytes(413)) * 4, Container.MPEG),
        ((bytes.fromhex("fffb9064") + bytes(413)) + bytes(500), Container.UNKNOWN),
    ],
)
def test_the_first_bytes_name_the_container(content: bytes, container: Container) -> None:
    file = io.BytesIO(content)

    assert identify(file) is container
    assert file.tell() == 0


@pytest.mark.parametrize(
    ("content", "container", "truncated"),
    [
        (b"RIFF\0\0\0\0WAVEdata\x04\0\0\0abcd", Container.WAV, False),
        (b"RIFF\0\0\0\0WAVEfmt \x03\0\0\0abc\0data\x04\0\0\0abcd", Container.WAV, False),
        (b"RIFF\0\0\0\0WAVEdata\x05\0\0\0abcd", Container.WAV, True),
        (b"RIFX\0\0\0\0WAVEdata\0\0\0\x05abcd", Container.WAV, True),
        (b"RIFF\0\0\0\0WAVEfmt ", Container.WAV, True),
        (b"FORM\0\0\0\x04AIFF", Container.AIFF, False),
        (b"FORM\0\0\0\x09AIFF", Container.AIFF, True),
        (
            b"RF64\0\0\0\0WAVEds64\x10\0\0\0" + bytes(8) + b"\x04" + bytes(7) + b"data\xff\xff\xff\xffabcd",
            Container.WAV,
            False,
        ),
        (
            b"RF64\0\0\0\0WAVEds64\x10\0\0\0" + bytes(8) + b"\x05" + bytes(7) + b"data\xff\xff\xff\xffabcd",
            Container.WAV,
            True,
        ),
        (b"OggS", Container.OGG, True),
        (b"\0\0\0\x08moov\0\0\0\x0amdatxx", Container.MP4, False),
        (b"\0\0\0\x08moov\0\0\0\x0bmdatxx", Container.MP4, True),
        (b"\0\0\0\x08moov\0\0\0\x01mdat\0\0\0\0\0\0\0\x10", Container.MP4, False),
        (b"\0\0\0\x08moov\0\0\0\0mdatxx", Container.MP4, False),
        (b"\0\0\0\x0amdatxx", Container.MP4, True),
        (b"\x1aE\xdf\xa3\x81x\x18S\x80g\x82ab", Container.OTHER, False),
        (b"\x1aE\xdf\xa3\x81x\x18S\x80g\x83ab", Container.OTHER, True),
        (b"\x1aE\xdf\xa3\x81x\x18S\x80g\xffab", Container.OTHER, False),
        (b"\x1aE\xdf\xa3", Container.OTHER, False),
        (bytes.fromhex("fffb9064") * 3, Container.MPEG, False),
        (b"anything", Container.OTHER, False),
    ],
)
def test_a_container_that_promises_more_than_there_is_looks_truncated(
    content: bytes, container: Container, truncated: bool
) -> None:
    assert survey(io.BytesIO(content), container).is_cut is truncated


@pytest.mark.parametrize("name", ["cbr.mp3", "cbr_bare.mp3", "vbr.mp3", "vbr_bare.mp3", "aac", "ogg", "opus"])
def test_frames_and_pages_add_up_to_the_length_with_no_sample_decoded(name: str) -> None:
    found = _survey(WHOLE[name]())

    assert found.seconds == pytest.approx(5.0, abs=0.08)
    assert (found.is_cut, found.is_damaged) == (False, False)


@pytest.mark.parametrize("name", ["cbr_bare.mp3", "vbr_bare.mp3", "aac"])
def test_a_stream_of_frames_without_a_header_is_cut_if_its_last_frame_is(name: str) -> None:
    found = _survey(cut(WHOLE[name](), 0.5))

    assert found.is_cut
    assert found.seconds == pytest.approx(2.5, abs=0.1)


def test_a_stream_of_frames_that_is_cut_between_two_of_them_looks_whole() -> None:
    whole = WHOLE["cbr_bare.mp3"]()
    length = frame_length(whole[:6])

    assert length is not None
    assert not _survey(whole[: 50 * length + 10]).is_damaged
    spans = _survey(cut(whole, 0.5)).parts[0]
    assert not _survey(whole[: spans[-1][1]]).is_cut


@pytest.mark.parametrize("tail", [id3v1(), ape(5000), ape(300_000) + id3v1(), bytes(30_000), b"LYRICSBEGIN..."])
def test_tags_and_padding_behind_the_last_frame_are_no_damage(tail: bytes) -> None:
    found = _survey(id3(1000) + WHOLE["vbr_bare.mp3"]() + tail)

    assert found.seconds == pytest.approx(5.0, abs=0.08)
    assert (found.is_cut, found.is_damaged) == (False, False)


def test_junk_between_frames_is_damage_and_left_out() -> None:
    whole = WHOLE["cbr_bare.mp3"]()
    found = _survey(with_junk(whole))

    ((first, second),) = found.parts
    assert found.is_damaged
    assert first[0] == 0
    assert second[0] - first[1] < 5000 + 900
    assert second[1] == len(whole) + 5000


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_one_wrong_bit_in_an_ogg_page_is_damage(name: str) -> None:
    assert _survey(flipped(WHOLE[name](), 0, head=8000)).is_damaged


def test_a_missing_ogg_page_is_damage() -> None:
    whole = WHOLE["ogg"]()
    third = [at for at in range(len(whole)) if whole.startswith(b"OggS", at)][3:5]

    assert _survey(whole[: third[0]] + whole[third[1] :]).is_damaged


def test_ogg_streams_in_a_row_are_told_apart() -> None:
    found = _survey(WHOLE["ogg"]() + WHOLE["opus"]())

    size = len(WHOLE["ogg"]())
    assert found.parts == (((0, size),), ((size, size + len(WHOLE["opus"]())),))
    assert found.seconds == pytest.approx(10.0, abs=0.1)


_FRAME = bytes.fromhex("fffb9064") + bytes(413)


@pytest.mark.parametrize(
    "content",
    [
        _FRAME * 4 + b"\xff" * 20_000_000,
        _FRAME * 4 + b"\xff\xfb\x90" * 7_000_000,
        (_FRAME * 3 + b"junk") * 15_000,
        b"OggS" * 5_000_000,
        (b"OggS" + bytes(22) + b"\xff" + b"\xff" * 255) * 70_000,
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2_000_000,
        b"\0\0\0\x08moov" + b"\0\0\0\x08free" * 2_000_000,
    ],
    ids=["ones", "sync_words", "short_chains", "capture_patterns", "pages", "chunks", "boxes"],
)
def test_twenty_megabytes_of_false_starts_are_given_up_soon(content: bytes) -> None:
    started = time.process_time()

    _survey(content)

    assert time.process_time() - started < 3
