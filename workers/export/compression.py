"""Streams that compress, in members or frames that may follow one another in one file."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import zstandard

from shared.jobs.data_export import Compression

GZIP_LEVEL = 6
ZSTD_LEVEL = 3


@contextmanager
def compressing(target: IO[bytes], compression: Compression) -> Iterator[IO[bytes]]:
    """Yield a stream that writes one whole member or frame to `target`, which stays open."""
    if compression is Compression.GZIP:
        with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=GZIP_LEVEL, mtime=0, filename="") as stream:
            yield cast(IO[bytes], stream)
    elif compression is Compression.ZSTD:
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        with compressor.stream_writer(cast(Any, target), closefd=False) as stream:
            yield cast(IO[bytes], stream)
    else:
        yield target
