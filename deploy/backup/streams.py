"""Documents as they are stored, one behind the other, to and from compressed files."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import zstandard

from deploy.backup.errors import BackupDamaged
from shared.keys import OWNER_ONLY

LEVEL = 3
READ_BYTES = 1 << 20
DOCUMENT_BYTES_MAX = 64 << 20
"""No document is larger, so a length above this is none."""

_LENGTH = struct.Struct("<i")


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a file came to."""

    sha256: str
    documents: int
    bytes: int


class _Hashing:
    """Hashes what passes through to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def write_documents(path: Path, batches: Iterable[bytes]) -> Written:
    """Write batches of documents to a file that exists once it is whole, and is on the disk then."""
    draft = path.with_name(f".{path.name}")
    documents = size = 0
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    with open(descriptor, "wb") as file:
        target = _Hashing(file)
        compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        with compressor.stream_writer(target, closefd=False) as stream:  # type: ignore[arg-type]  # it only writes
            for batch in batches:
                documents += sum(1 for _ in split(batch))
                size += len(batch)
                stream.write(batch)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return Written(sha256=target.hash.hexdigest(), documents=documents, bytes=size)


def split(batch: bytes) -> Iterator[bytes]:
    """Yield each of the documents that stand one behind the other."""
    start = 0
    while start < len(batch):
        end = start + _LENGTH.unpack_from(batch, start)[0]
        yield batch[start:end]
        start = end


def read_documents(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the documents of a file. Raises `BackupDamaged` where they are none."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(file, read_size=READ_BYTES, closefd=False) as stream:
            while head := _exactly(stream, _LENGTH.size, name, may_end=True):
                length = _LENGTH.unpack(head)[0]
                if not 5 <= length <= DOCUMENT_BYTES_MAX:
                    raise BackupDamaged(f"{name} holds something that is no document.")
                yield head + _exactly(stream, length - _LENGTH.size, name)
    except zstandard.ZstdError as error:
        raise BackupDamaged(f"{name} can't be unpacked: {error}.") from None


def _exactly(stream: IO[bytes], size: int, name: str, *, may_end: bool = False) -> bytes:
    data = stream.read(size)
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more and not (may_end and not data):
            raise BackupDamaged(f"{name} ends in the middle of a document.")
        if not more:
            return b""
        data += more
    return data


def sha256_of(file: IO[bytes]) -> str:
    """Return the hash of what is left of a file."""
    found = hashlib.sha256()
    while data := file.read(READ_BYTES):
        found.update(data)
    return found.hexdigest()
