"""A file's own bytes name its format."""

import io

import pytest

from workers.audio.container import Container, identify, looks_truncated, mpeg_frame_length


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
    assert mpeg_frame_length(bytes.fromhex(header).ljust(6, b"\0") if len(header) > 2 else b"\xff") == length


def test_an_adts_header_states_its_own_length() -> None:
    assert mpeg_frame_length(bytes.fromhex("fff150800c3ffc")) == 97
    assert mpeg_frame_length(bytes.fromhex("fff17c800c3ffc")) is None


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
        (b"OggS", Container.OGG, True),
        (b"\0\0\0\x08moov\0\0\0\x0amdatxx", Container.MP4, False),
        (b"\0\0\0\x08moov\0\0\0\x0bmdatxx", Container.MP4, True),
        (b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x10", Container.MP4, False),
        (b"\0\0\0\0mdatxx", Container.MP4, False),
        (bytes.fromhex("fffb9064") * 3, Container.MPEG, False),
        (b"anything", Container.OTHER, False),
    ],
)
def test_a_container_that_promises_more_than_there_is_looks_truncated(
    content: bytes, container: Container, truncated: bool
) -> None:
    assert looks_truncated(io.BytesIO(content), container) is truncated
