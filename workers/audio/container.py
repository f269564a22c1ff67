"""What kind of file it is, by its own bytes.

Names lie (text renamed to .mp3) and decoders guess (libmpg123 finds "frames" in random bytes), so the container is
read from the bytes before any decoder is asked.
"""

from enum import StrEnum
from typing import BinaryIO

from workers.audio.mpeg import first_chain, id3_length

_HEAD_BYTES = 1 << 18


class Container(StrEnum):
    """The families of files that need different care."""

    WAV = "wav"
    AIFF = "aiff"
    FLAC = "flac"
    OGG = "ogg"  # Vorbis, FLAC or Speex in Ogg
    OPUS = "opus"  # Opus in Ogg
    MPEG = "mp3"  # MPEG audio layers 1 to 3, with or without an ID3 tag
    ADTS = "aac"  # AAC frames without a container
    MP4 = "mp4"  # M4A, MP4, MOV
    OTHER = "other"  # a magic number we know, left to FFmpeg
    UNKNOWN = "unknown"  # no magic number: perhaps no audio at all


_MAGIC: tuple[tuple[int, bytes, Container], ...] = (
    (8, b"AVI ", Container.OTHER),
    (0, b"RIFF", Container.WAV),
    (0, b"RIFX", Container.WAV),
    (0, b"RF64", Container.WAV),
    (0, b"FORM", Container.AIFF),
    (0, b"fLaC", Container.FLAC),
    (0, b"OggS", Container.OGG),
    (4, b"ftyp", Container.MP4),
    (4, b"moov", Container.MP4),
    (4, b"mdat", Container.MP4),
    (0, b".snd", Container.OTHER),
    (0, b"caff", Container.OTHER),
    (0, b"wvpk", Container.OTHER),
    (0, b"MAC ", Container.OTHER),
    (0, b"TTA1", Container.OTHER),
    (0, b"MPCK", Container.OTHER),
    (0, b"DSD ", Container.OTHER),
    (0, b"\0\0\1\xba", Container.OTHER),  # MPEG program stream
    (0, b"\x1aE\xdf\xa3", Container.OTHER),  # Matroska, WebM
    (0, b"0&\xb2u\x8ef\xcf\x11", Container.OTHER),  # ASF: WMA
)


def identify(file: BinaryIO) -> Container:
    """Name the container of an open binary file; its position is left at the start."""
    head = read_at(file, 0, _HEAD_BYTES)
    start = id3_length(head)
    body = read_at(file, start, _HEAD_BYTES) if start else head
    file.seek(0)
    found = _by_magic(body)
    if found is not Container.UNKNOWN:
        return found
    start_of_frames = first_chain(body)
    if start_of_frames is None:
        return Container.UNKNOWN
    return Container.MPEG if body[start_of_frames + 1] & 0x06 else Container.ADTS


def read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Return up to `count` bytes from `offset` on."""
    file.seek(offset)
    return file.read(count)


def _by_magic(head: bytes) -> Container:
    for offset, magic, container in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            opus = container is Container.OGG and b"OpusHead" in head[:512]
            return Container.OPUS if opus else container
    # MPEG transport stream, whose frames lie in packets of 188 bytes
    return Container.OTHER if head[: 188 * 5 : 188] == b"G" * 5 else Container.UNKNOWN
