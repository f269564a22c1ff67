"""How long a file lasts, and what of it is missing or damaged, found by walking over it with no sample decoded.

Headers lie (the length of a stream whose writer never knew it), and decoders pass over damage in silence.
"""

import io
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import BinaryIO

from workers.audio.container import Container, read_at
from workers.audio.mpeg import id3_length, is_chain, kind_of, measure, xing_bytes

_WINDOW_BYTES = 1 << 20
# Hostile files offer a false start every few bytes; past so many of them the walk is given up.
_MAX_FALSE_FRAMES = 20_000
_MAX_BAD_PAGES = 2_000
_MAX_BOXES = 10_000
# 255 packets of silence; a stream whose first page ends later was cut out of a broadcast, whose clock runs on.
_LONGEST_PAGE_SECONDS = 15


Spans = tuple[tuple[int, int], ...]
"""Offsets of the bytes worth reading: where each run of them starts and ends."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a walk over a file's boxes, pages or frames found, with no sample decoded."""

    seconds: float | None = None  # what the frames add up to, None where they were not counted
    is_cut: bool = False  # the end is missing
    is_damaged: bool = False  # pages fail their checksum, or bytes of no frame lie between frames
    parts: tuple[Spans, ...] = ()  # the streams that follow each other, empty for the whole file as one
    remark: str = ""  # for people: why nothing may play


def survey(file: BinaryIO, container: Container) -> Survey:
    """Walk over a file of a known container; its position is left at the start."""
    walks = {
        Container.WAV: _survey_wav,
        Container.AIFF: _survey_aiff,
        Container.MPEG: _survey_mpeg,
        Container.ADTS: _survey_mpeg,
        Container.OGG: _survey_ogg,
        Container.OPUS: _survey_ogg,
        Container.MP4: _survey_mp4,
        Container.OTHER: _survey_other,
    }
    walk = walks.get(container)
    found = walk(file, file.seek(0, io.SEEK_END)) if walk else Survey()
    file.seek(0)
    return found


# WAV, AIFF, MP4, Matroska: boxes that state their sizes


def _survey_wav(file: BinaryIO, size: int) -> Survey:
    order = ">" if read_at(file, 0, 4) == b"RIFX" else "<"
    at, bytes_a_second, real_length = 12, 0, 0
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            break
        name, length = struct.unpack(order + "4sI", read_at(file, at, 8))
        body = read_at(file, at + 8, 16).ljust(16, b"\0")
        if name == b"fmt ":
            (bytes_a_second,) = struct.unpack(order + "8xI4x", body)
        elif name == b"ds64":  # RF64 (EBU Tech 3306): the sizes that did not fit into 32 bits
            (real_length,) = struct.unpack("<8xQ", body)
        elif name == b"data":
            return _survey_wav_data(file, at + 8, size, length, real_length, bytes_a_second)
        at += 8 + length + (length & 1)
    return Survey(is_cut=True)


def _survey_wav_data(
    file: BinaryIO, start: int, size: int, length: int, real_length: int, bytes_a_second: int
) -> Survey:
    if length == 0xFFFFFFFF:  # RF64, or a stream whose writer never knew the length
        return Survey(is_cut=start + real_length > size)
    if length == 0 and bytes_a_second and not _are_chunks(file, start, size):  # a writer that died or never knew
        return Survey(seconds=(size - start) / bytes_a_second)
    return Survey(is_cut=start + length > size)


def _are_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Say whether RIFF chunks fill the rest of a file, or nothing does."""
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            break
        name, length = struct.unpack("<4sI", read_at(file, at, 8))
        if not name.strip(b" ").isalnum():
            return False
        at += 8 + length + (length & 1)
    return at - size in (0, 1)


def _survey_aiff(file: BinaryIO, size: int) -> Survey:
    (length,) = struct.unpack(">I", read_at(file, 4, 4).ljust(4, b"\0"))
    return Survey(is_cut=8 + length > size)


def _survey_mp4(file: BinaryIO, size: int) -> Survey:
    at, names = 0, set()
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            break
        length, name = struct.unpack(">I4s", read_at(file, at, 8))
        names.add(name)
        if length == 1:
            (length,) = struct.unpack(">Q", read_at(file, at + 8, 8).ljust(8, b"\0"))
        if length < 8:  # 0: this box runs to the end of the file
            at = size
            break
        at += length
    if b"moov" not in names:
        remark = "its index, the moov box that recorders write last, is missing: the end of the file was cut off"
        return Survey(is_cut=True, remark=remark)
    return Survey(is_cut=at > size)


def _survey_other(file: BinaryIO, size: int) -> Survey:
    """Compare the size of a Matroska segment (RFC 8794) with the file's."""
    head = read_at(file, 0, 256)
    if head[:4] != b"\x1aE\xdf\xa3":
        return Survey()
    start, length = _vint(head, 4)
    at = start + length
    if head[at : at + 4] != b"\x18S\x80g":
        return Survey()
    start, length = _vint(head, at + 4)
    is_unknown = length == (1 << 7 * (start - at - 4)) - 1  # all ones: a live stream
    return Survey(is_cut=not is_unknown and start + length > size)


def _vint(head: bytes, at: int) -> tuple[int, int]:
    """Return the offset behind a variable-length integer, and its value."""
    first = head[at] if at < len(head) else 0
    count = 9 - first.bit_length()
    value = int.from_bytes(head[at : at + count], "big") & (1 << 7 * count) - 1
    return at + count, value


# Ogg: pages with checksums (RFC 3533)

_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(kw_only=True)
class _Link:
    """One of the streams that follow each other in an Ogg file."""

    offset: int = 0  # in the file
    rate: int = 0  # granules a second, 0 where the codec is unknown
    start: int = 0  # granules before the first sample
    end: int = 0
    serial: int = -1
    is_begun: bool = False  # data followed the headers
    is_over: bool = False  # the page that ends it was there

    @property
    def seconds(self) -> float:
        return max(0, self.end - self.start) / self.rate if self.rate else 0.0


@dataclass(kw_only=True)
class _OggWalk:
    """The state of a walk over pages."""

    links: list[_Link] = field(default_factory=lambda: [_Link()])
    sequence: dict[int, int] = field(default_factory=dict)
    is_damaged: bool = False

    def take(self, page: bytes, offset: int) -> None:
        """Add a page whose checksum is right."""
        flags, granule, serial, number = struct.unpack("<5xBqII4x", page[:26])
        if flags & 2:
            self._begin(page, serial, offset)
        elif number != self.sequence.get(serial, number - 1) + 1:
            self.is_damaged = True  # pages are missing
        self.sequence[serial] = number
        link = self.links[-1]
        if serial == link.serial and granule > 0:
            if not link.is_begun and granule > link.start + _LONGEST_PAGE_SECONDS * link.rate:
                link.start = granule
            link.is_begun, link.end = True, granule
        if serial == link.serial and flags & 4:
            link.is_over = True

    def _begin(self, page: bytes, serial: int, offset: int) -> None:
        if self.links[-1].is_begun:
            self.links.append(_Link(offset=offset))
        link, (rate, start) = self.links[-1], _granule_clock(page[27 + page[26] :])
        if link.serial < 0 or (rate and not link.rate):
            link.rate, link.start, link.serial = rate, start, serial


def _granule_clock(packet: bytes) -> tuple[int, int]:
    """Return the rate of granules by a stream's first packet, 0 if unknown, and how many come before the first."""
    if packet[:7] == b"\x01vorbis" and len(packet) >= 16:
        return int(struct.unpack("<I", packet[12:16])[0]), 0
    if packet[:8] == b"OpusHead" and len(packet) >= 12:
        return 48000, int(struct.unpack("<H", packet[10:12])[0])
    return 0, 0


def _survey_ogg(file: BinaryIO, size: int) -> Survey:
    walk, at, bad, is_cut = _OggWalk(), 0, 0, False
    while bad < _MAX_BAD_PAGES:
        head = read_at(file, at, 27)
        page = head + file.read(head[26]) if len(head) == 27 else head
        length = len(page) + sum(page[27:])
        if page[:4] == b"OggS" and len(page) >= 27 and at + length <= size:
            page += file.read(length - len(page))
            if _has_right_checksum(page):
                walk.take(page, at)
                at += length
                bad += not page[26]  # legal without content, yet a file of nothing else is no music
                continue
        following = _find(file, b"OggS", at + 1)
        if following is None:
            is_cut = page[:4] == b"OggS"  # otherwise tags of another format, or padding
            break
        at, bad, walk.is_damaged = following, bad + 1, True
    links = walk.links
    ends = [*(link.offset for link in links[1:]), size]
    parts = tuple(((link.offset, end),) for link, end in zip(links, ends, strict=True))
    return Survey(
        seconds=sum(link.seconds for link in links) or None,
        is_cut=is_cut or not links[-1].is_over,
        is_damaged=walk.is_damaged,
        parts=parts if len(links) > 1 else (),
    )


def _has_right_checksum(page: bytes) -> bool:
    """Compare the CRC-32 that Ogg computes from the highest bit on, which zlib does on mirrored bytes."""
    mirrored = (page[:22] + b"\0\0\0\0" + page[26:]).translate(_MIRROR)
    found = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return found == int.from_bytes(page[22:26].translate(_MIRROR), "big")


def _find(file: BinaryIO, marker: bytes, at: int) -> int | None:
    while len(window := read_at(file, at, _WINDOW_BYTES)) >= len(marker):
        found = window.find(marker)
        if found >= 0:
            return at + found
        at += len(window) - len(marker) + 1
    return None


# MPEG audio and ADTS: frames that state their lengths

_SYNC = re.compile(rb"\xff[\xe2-\xff][\x00-\xef]")


def _survey_mpeg(file: BinaryIO, size: int) -> Survey:
    start = id3_length(read_at(file, 0, 10))
    walk = _MpegWalk(file, size)
    at = walk.next_chain(start)
    promised = 0 if at is None else xing_bytes(read_at(file, at, 256))
    is_cut = at is not None and size - at < 0.99 * promised
    spans: list[tuple[int, int]] = []
    junk = [] if at is None else [(start, at)]
    while at is not None:
        end = walk.follow(at)
        spans.append((at, end))
        resumed = walk.skip_tags(end)
        at = walk.next_chain(resumed)
        if at is not None:
            junk.append((resumed, at))
    if sum(end - begin for begin, end in junk) > sum(end - begin for begin, end in spans):
        return Survey(is_cut=is_cut)  # frames inside something else, or by chance
    is_cut = is_cut or walk.is_partial
    if walk.false_frames >= _MAX_FALSE_FRAMES:
        return Survey(is_cut=is_cut, is_damaged=True)
    is_damaged = any(read_at(file, begin, min(end - begin, _WINDOW_BYTES)).strip(b"\0") for begin, end in junk[1:])
    parts = (tuple(spans),) if spans else ()
    return Survey(seconds=walk.seconds or None, is_cut=is_cut, is_damaged=is_damaged, parts=parts)


class _MpegWalk:
    """Steps from frame to frame.

    Attributes:
        seconds: what the frames so far add up to.
        is_partial: the file ends inside a frame.
        false_frames: what looked like a frame and was none.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._base, self._window = 0, b""
        self.seconds, self.is_partial, self.false_frames = 0.0, False, 0

    def follow(self, at: int) -> int:
        """Follow a chain of frames of one kind from an offset and return where it ends."""
        known: dict[bytes, tuple[int, float]] = {}
        kind = b""
        base, window = self._base, b""
        while True:
            offset = at - base
            header = window[offset : offset + 6]
            if len(header) < 6:  # at the end of the window, or of the file
                self._load(at)
                base, window = self._base, self._window
                header = window[at - base : at - base + 6]
                if len(header) < 6:
                    break
            step = known.get(header[:3])
            if step is None:
                step = measure(header)
                kind = kind or kind_of(header)
                if not step[0] or kind_of(header) != kind:
                    return at
                if header[1] & 0x06:  # ADTS frames state their lengths further behind
                    known[header[:3]] = step
            if at + step[0] > self._size:
                break
            self.seconds += step[1]
            at += step[0]
        self.is_partial = self.is_partial or header[:1] == b"\xff"
        return at

    def _load(self, at: int) -> int:
        """Have at least 32 kB from `at` on in the window, less only at the end; return their offset there."""
        offset = at - self._base
        if not 0 <= offset <= len(self._window) - (1 << 15):
            self._base, self._window, offset = at, read_at(self._file, at, _WINDOW_BYTES), 0
        return offset

    def skip_tags(self, at: int) -> int:
        """Return the offset behind the tags of any kind that start at `at`."""
        while True:
            head = read_at(self._file, at, 32)
            if head[:3] == b"ID3":
                length = max(10, id3_length(head))
            elif head[:3] == b"TAG":
                length = 128
            elif head[:8] == b"APETAGEX" and len(head) == 32:
                length = 32 + int.from_bytes(head[12:16], "little") * (head[23] >> 5 & 1)
            else:
                return at
            at += length

    def next_chain(self, at: int) -> int | None:
        """Return the next offset from which frames follow each other, None without one."""
        while at < self._size and self.false_frames < _MAX_FALSE_FRAMES:
            offset = self._load(at)
            # a chain must fit into the window, unless the file ends there
            is_last = self._base + len(self._window) >= self._size
            end = len(self._window) - (0 if is_last else 1 << 14)
            for found in _SYNC.finditer(self._window, offset, end):
                self.false_frames += 1
                if is_chain(self._window, found.start()):
                    return self._base + found.start()
            at = self._size if is_last else self._base + end
        return None
