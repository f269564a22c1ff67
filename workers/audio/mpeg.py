"""The headers of MPEG audio and ADTS frames, and the tags around them."""

import struct

# Three consistent MPEG headers in a row happen by chance about once in 2**40 random positions.
_CHAINED_HEADERS = 3


def id3_length(head: bytes) -> int:
    """Length in bytes of a leading ID3v2 tag (its size has 7 bits a byte), 0 without one."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10


def first_chain(body: bytes) -> int | None:
    """Offset of the first chain of MPEG audio or ADTS headers, None without one."""
    at = body.find(b"\xff")
    while at >= 0:
        if is_chain(body, at):
            return at
        at = body.find(b"\xff", at + 1)
    return None


def is_chain(body: bytes, at: int) -> bool:
    """Return whether frames of one kind follow each other from `at` on."""
    first = body[at : at + 6]
    for count in range(_CHAINED_HEADERS):
        length = frame_length(body[at : at + 6])
        if length is None or kind_of(body[at : at + 6]) != kind_of(first):
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


def frame_length(header: bytes) -> int | None:
    """Length in bytes of the MPEG or ADTS frame with these first 6 bytes, None for no header or a free format."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    if header[1] & 0xF6 == 0xF0:  # ISO/IEC 14496-3: layer 0 marks ADTS, which states its length
        return _adts_frame_length(header)
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bits, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate_index == 3:
        return None
    rate = _mpeg_rate(header)
    bitrate = _BITRATES[version == 3, layer][bits] * 1000
    if layer == 1:
        return (12 * bitrate // rate + padding) * 4
    per_frame = 72 if layer == 3 and version != 3 else 144
    return per_frame * bitrate // rate + padding


def _adts_frame_length(header: bytes) -> int | None:
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 and header[2] >> 2 & 15 < 13 else None


def kind_of(header: bytes) -> bytes:
    """Return what stays the same from frame to frame: version, layer and rate."""
    return bytes((header[1] & 0xFE, header[2] & 0x0C))


_ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def measure(header: bytes) -> tuple[int, float]:
    """Return a frame's length in bytes and in seconds, zeros for no frame."""
    length = frame_length(header)
    if length is None:
        return 0, 0.0
    if header[1] & 0xF6 == 0xF0:
        return length, 1024 / _ADTS_RATES[header[2] >> 2 & 15]
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
    return length, samples / _mpeg_rate(header)


def _mpeg_rate(header: bytes) -> int:
    return _MPEG1_RATES[header[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[header[1] >> 3 & 3]


def xing_bytes(frame: bytes) -> int:
    """Return the bytes of audio by the Xing or Info header in a first frame, 0 where it does not say."""
    tag = max(frame.find(b"Xing"), frame.find(b"Info"))
    if tag < 0 or len(frame) < tag + 16:
        return 0
    flags, *fields = struct.unpack(">III", frame[tag + 4 : tag + 16])
    promised = fields[1] if flags & 1 else fields[0]
    return promised if flags & 2 else 0
