"""The records of a text file: lines of JSON, or rows of CSV, which may go over several lines; each with its place."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

from shared.errors import SourceUnreadable
from workers.export.assembly import METADATA
from workers.export.streams import decompressed

RECORD_MAX = 24 << 20
"""Bytes of one record; MongoDB's documents are no longer than 16 MB."""
SKIP_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record, and the bytes of the uncompressed file that it takes."""

    data: bytes
    start: int
    stop: int


class Records:
    """Reads the records of a file from its beginning, or from any of them on."""

    def __init__(self, stream: io.BufferedReader, *, is_csv: bool) -> None:
        """Keep the file, which may be compressed."""
        self._raw = stream
        self._is_csv = is_csv
        self._stream = decompressed(stream)
        self._at = 0

    def from_place(self, place: int) -> Iterator[Record]:
        """Yield the records from a place on at which one begins. Raises `SourceUnreadable`."""
        self._go_to(place)
        while data := self._next():
            start, self._at = self._at, self._at + len(data)
            yield Record(data=data, start=start, stop=self._at)

    def _go_to(self, place: int) -> None:
        if place < self._at:
            self._raw.seek(0)
            self._stream, self._at = decompressed(self._raw), 0
        if self._stream is self._raw:
            self._raw.seek(place)
            self._at = place
        while self._at < place:
            skipped = len(self._stream.read(min(place - self._at, SKIP_BYTES)))
            if not skipped:
                raise SourceUnreadable("The file is shorter than it was.")
            self._at += skipped

    def _next(self) -> bytes:
        try:
            record = self._line()
            while self._is_csv and record.count(b'"') % 2:
                line = self._line()
                if not line:
                    break
                record += line
                _check_length(record)
        except (EOFError, OSError) as error:
            raise SourceUnreadable(f"The file is damaged: {error}.") from None
        return record

    def _line(self) -> bytes:
        line = self._stream.readline(RECORD_MAX + 1)
        _check_length(line)
        return line


def _check_length(record: bytes) -> None:
    if len(record) > RECORD_MAX:
        raise SourceUnreadable(f"A record is longer than {RECORD_MAX >> 20} MB.")


def is_header(record: Record, *, is_csv: bool) -> bool:
    """Whether a file's first record is no row: the names of columns, or what an export says of itself."""
    if is_csv:
        return True
    try:
        found = json.loads(record.data.removeprefix(BOM))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() == {METADATA}
