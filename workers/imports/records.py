"""The records of a text file: lines of JSON, or rows of CSV, which may go over several lines; each with its place."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

from shared.errors import SourceUnreadable
from workers.export.assembly import METADATA

RECORD_MAX = 24 << 20
"""Bytes of one record; MongoDB's documents are no longer than 16 MB."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record, and the bytes of the file that it takes."""

    data: bytes
    start: int
    stop: int


class Records:
    """Reads the records of a file from its beginning, or from any of them on."""

    def __init__(self, stream: io.BufferedReader, *, is_csv: bool) -> None:
        """Keep the file, which is not compressed any more."""
        self._is_csv = is_csv
        self._stream = stream

    def from_place(self, place: int) -> Iterator[Record]:
        """Yield the records from a place on at which one begins. Raises `SourceUnreadable`."""
        self._stream.seek(place)
        while data := self._next():
            start, place = place, place + len(data)
            yield Record(data=data, start=start, stop=place)

    def _next(self) -> bytes:
        try:
            record = self._line()
            while self._is_csv and record.count(b'"') % 2:
                line = self._line()
                if not line:
                    break
                record += line
                _check_length(record)
        except OSError as error:
            raise SourceUnreadable(f"The file can't be read: {error.strerror or error}.") from None
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
