"""What a file's own bytes say: its container, and whether its end is missing.

Names lie (text renamed to .mp3) and decoders guess (libmpg123 finds "frames" in random bytes), so the
container is read from the bytes before any decoder is asked.
"""

import io
import struct
from enum import StrEnum
from typing import BinaryIO

_HEAD_BYTES = 1 << 18
# Tags at the end of an MPEG file (ID3v1, APE with a cover) may take this much.
_TRAILING_TAGS = 1 << 18
# Three consistent MPEG headers in a row happen by chance about once in 2**40 random positions.
_CHAINED_HEADERS = 3


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
    (0, b"\x1aE\xdf\xa3", Container.OTHER),  # Matroska, WebM
    (0, b"0&\xb2u\x8ef\xcf\x11", Container.OTHER),  # ASF: WMA
)


def identify(file: BinaryIO) -> Container:
    """Name the container of an open binary file; its position is left at the start."""
    head = _read_at(file, 0, _HEAD_BYTES)
    start = _id3_length(head)
    body = _read_at(file, start, _HEAD_BYTES) if start else head
    file.seek(0)
    found = _by_magic(body)
    if found is not Container.UNKNOWN:
        return found
    start_of_frames = _mpeg_start(body)
    if start_of_frames is None:
        return Container.UNKNOWN
    return Container.MPEG if body[start_of_frames + 1] & 0x06 else Container.ADTS


def looks_truncated(file: BinaryIO, container: Container) -> bool:
    """Say whether the container promises more than the file holds; its position is left at the start."""
    size = file.seek(0, io.SEEK_END)
    checks = {Container.WAV: _wav_truncated, Container.AIFF: _aiff_truncated, Container.MPEG: _mpeg_truncated}
    checks |= {Container.OGG: _ogg_truncated, Container.OPUS: _ogg_truncated, Container.MP4: _mp4_truncated}
    check = checks.get(container)
    truncated = check(file, size) if check else False
    file.seek(0)
    return truncated


def holds_more(file: BinaryIO, container: Container) -> bool:
    """Say whether an MPEG file goes on far behind the length in its first frame, as concatenated files do."""
    if container is not Container.MPEG:
        return False
    promised, present = _mpeg_bytes(file, file.seek(0, io.SEEK_END))
    file.seek(0)
    return promised > 0 and present > 1.05 * promised + _TRAILING_TAGS


def _read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)


def _by_magic(head: bytes) -> Container:
    for offset, magic, container in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            opus = container is Container.OGG and b"OpusHead" in head[:512]
            return Container.OPUS if opus else container
    return Container.UNKNOWN


def _id3_length(head: bytes) -> int:
    """Length in bytes of a leading ID3v2 tag (its size has 7 bits a byte), 0 without one."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10


def _mpeg_start(body: bytes) -> int | None:
    """Offset of the first chain of MPEG audio or ADTS headers, None without one."""
    at = body.find(b"\xff")
    while at >= 0:
        if _chained(body, at):
            return at
        at = body.find(b"\xff", at + 1)
    return None


def _chained(body: bytes, at: int) -> bool:
    first = body[at : at + 4]
    for count in range(_CHAINED_HEADERS):
        length = mpeg_frame_length(body[at : at + 6])
        if length is None or body[at + 1] & 0xFE != first[1] & 0xFE or (body[at + 2] ^ first[2]) & 0x0C:
            return False
        at += length
        if at + 6 > len(body):  # a file of fewer frames: it must end with the chain
            return count >= 1 or at == len(body)
    return True


_BITRATES = {  # kbit/s by (MPEG-1?, layer); ISO/IEC 11172-3 table and 13818-3
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG1_RATES = (44100, 48000, 32000)


def mpeg_frame_length(header: bytes) -> int | None:
    """Length in bytes of the MPEG or ADTS frame with these first 6 bytes, None for no header or a free format."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    if header[1] & 0xF6 == 0xF0:  # ISO/IEC 14496-3: layer 0 marks ADTS, which states its length
        return _adts_frame_length(header)
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bits, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate_index == 3:
        return None
    rate = _MPEG1_RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    bitrate = _BITRATES[version == 3, layer][bits] * 1000
    if layer == 1:
        return (12 * bitrate // rate + padding) * 4
    per_frame = 72 if layer == 3 and version != 3 else 144
    return per_frame * bitrate // rate + padding


def _adts_frame_length(header: bytes) -> int | None:
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 and header[2] >> 2 & 15 < 13 else None


def _wav_truncated(file: BinaryIO, size: int) -> bool:
    order = ">" if _read_at(file, 0, 4) == b"RIFX" else "<"
    at = 12
    while at + 8 <= size:
        name, length = struct.unpack(order + "4sI", _read_at(file, at, 8))
        if name == b"data":
            # 0 and 0xFFFFFFFF mark a stream whose writer never knew the length, or RF64
            return bool(0 < length < 0xFFFFFFFF and at + 8 + length > size)
        at += 8 + length + (length & 1)
    return True


def _aiff_truncated(file: BinaryIO, size: int) -> bool:
    (length,) = struct.unpack(">I", _read_at(file, 4, 4).ljust(4, b"\0"))
    return bool(8 + length > size)


def _ogg_truncated(file: BinaryIO, size: int) -> bool:
    """A whole stream ends with a page that carries the end-of-stream flag (RFC 3533)."""
    tail = _read_at(file, max(0, size - (1 << 17)), 1 << 17)
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return True
    segments = tail[page + 27 : page + 27 + tail[page + 26]]
    complete = len(tail) >= page + 27 + len(segments) + sum(segments)
    return not (complete and tail[page + 5] & 4)


def _mpeg_truncated(file: BinaryIO, size: int) -> bool:
    promised, present = _mpeg_bytes(file, size)
    return present < 0.99 * promised


def _mpeg_bytes(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return the bytes of audio by the Xing/Info header, 0 where it does not say, and those really there."""
    start = _id3_length(_read_at(file, 0, 10))
    body = _read_at(file, start, 1 << 16)
    first = _mpeg_start(body)
    frame = body[first : first + 256] if first is not None else b""
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0 or first is None or len(frame) < tag + 16:
        return 0, size
    flags, *fields = struct.unpack(">III", frame[tag + 4 : tag + 16])
    promised = fields[1] if flags & 1 else fields[0]
    return promised if flags & 2 else 0, size - start - first


def _mp4_truncated(file: BinaryIO, size: int) -> bool:
    at = 0
    while at + 8 <= size:
        length, _ = struct.unpack(">I4s", _read_at(file, at, 8))
        if length == 1:
            (length,) = struct.unpack(">Q", _read_at(file, at + 8, 8).ljust(8, b"\0"))
        if length < 8:  # 0: this box runs to the end of the file
            return False
        at += length
    return at > size
