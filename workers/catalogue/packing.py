"""Unpacking a file by what its first bytes say it is: plain, gzip (RFC 1952) or Zstandard (RFC 8878)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from workers.catalogue.errors import DamagedError, TooLargeError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 256 * 1024
ZSTD_STEP_BYTES = 1024  # 4 bytes may stand for a block of 128 KiB, so a step unpacks to 32 MiB at most
ZSTD_WINDOW_MAX = 1 << 28  # the largest window of its tool's ultra levels is 2^27
GZIP_MAGIC = b"\x1f\x8b"
# Of a frame, and of those that are to be skipped, with which a file of pzstd begins.
ZSTD_MAGIC = (b"\x28\xb5\x2f\xfd", *(bytes((first, 0x2A, 0x4D, 0x18)) for first in range(0x50, 0x60)))
GZIP_FORMAT = 31  # zlib's number for gzip with its header and checksum


def unpacked(file: BinaryIO, *, bytes_max: int) -> Iterator[bytes]:
    """Yield the content of a file in blocks of bounded size.

    Raises:
        DamagedError: the packed stream is cut off or broken.
        TooLargeError: it unpacks to more than `bytes_max`.
    """
    total = 0
    for block in _blocks(file):
        total += len(block)
        if total > bytes_max:
            raise TooLargeError(f"The source unpacks to more than {bytes_max:,} bytes.")
        yield block


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    first = file.read(BLOCK_BYTES)
    if first.startswith(GZIP_MAGIC):
        return _gunzipped(_rest(first, file, BLOCK_BYTES))
    if first.startswith(ZSTD_MAGIC):
        return _unzstd(_rest(first, file, BLOCK_BYTES))
    return _rest(first, file, BLOCK_BYTES)


def _rest(first: bytes, file: BinaryIO, size: int) -> Iterator[bytes]:
    while first:
        yield first
        first = file.read(size)


def _gunzipped(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what one or more gzip members hold."""
    unpacker = zlib.decompressobj(GZIP_FORMAT)
    try:
        for block in packed:
            left = block
            while left:
                if unpacker.eof:
                    if not left.strip(b"\0"):  # padding behind the last member
                        break
                    unpacker = zlib.decompressobj(GZIP_FORMAT)
                yield unpacker.decompress(left, BLOCK_BYTES)
                left = unpacker.unconsumed_tail or unpacker.unused_data
            while not unpacker.eof and (more := unpacker.decompress(b"", BLOCK_BYTES)):
                yield more
    except zlib.error as error:
        raise DamagedError(f"The gzip file is broken: {error}.") from None
    if not unpacker.eof:
        raise DamagedError("The gzip file is cut off.")


def _unzstd(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what one or more Zstandard frames hold."""
    library = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
    unpacker = library.decompressobj()
    try:
        for block in packed:
            for start in range(0, len(block), ZSTD_STEP_BYTES):
                left = block[start : start + ZSTD_STEP_BYTES]
                while left:
                    if unpacker.eof:
                        unpacker = library.decompressobj()
                    yield unpacker.decompress(left)
                    left = unpacker.unused_data if unpacker.eof else b""
    except zstandard.ZstdError as error:
        raise DamagedError(f"The Zstandard file is broken: {error}.") from None
    if not unpacker.eof:
        raise DamagedError("The Zstandard file is cut off.")


class Stream(io.RawIOBase):
    """Blocks as a file that is read from its beginning to its end."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        """Read from these blocks."""
        self._blocks = blocks
        self._left = memoryview(b"")
        self.last = b""  # the last byte that was read

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer as far as the present block goes."""
        while not self._left:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._left = memoryview(block)
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self.last = bytes(self._left[count - 1 : count])
        self._left = self._left[count:]
        return count
