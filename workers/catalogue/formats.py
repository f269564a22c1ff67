"""The formats that a catalogue comes in: a JSON document, JSON Lines, CSV; told apart by content, read as a stream."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import ijson

from workers.catalogue.errors import DamagedError
from workers.catalogue.packing import Stream

ENTRY_BYTES_MAX = 1024 * 1024
"""A longer entry fails by itself; the longest of a real release has some 30 kB."""

HEAD_BYTES = ENTRY_BYTES_MAX
READ_BYTES = 64 * 1024
TOO_LARGE = b"!too_large "
"""What stands in place of an entry that is too large, before its size; no JSON begins so."""

BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LAST_UPDATE = re.compile(r"\d{4}-\d\d-\d\d")
METADATA = frozenset(("lastUpdate", "license", "repository", "$schema"))
TITLE_COLUMN = "title"


class Form(StrEnum):
    """What the entries are."""

    ANIME = "anime"
    TRACKS = "tracks"


class Reader:
    """Reads the entries of one source, each as JSON; what the source says of itself is known when all are read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        """Look at the beginning. Raises `DamagedError` where the format is none of ours."""
        head = bytearray()
        for block in blocks:
            head += block
            if len(head) >= HEAD_BYTES:
                break
        if head.startswith(UTF_16):
            raise DamagedError("The source is UTF-16: save it as UTF-8.")
        head = head.removeprefix(BOM)
        if not head.strip():
            raise DamagedError("The source is empty.")
        self.last_update: str | None = None
        self._stream = Stream(itertools.chain((bytes(head),), blocks))
        self._file = io.BufferedReader(self._stream, READ_BYTES)
        self._head = bytes(head)

    def entries(self) -> Iterator[bytes]:
        """Yield each entry as JSON in one line, or `TOO_LARGE` and its size. Raises `DamagedError`."""
        first = self._head.lstrip()[:1]
        if first == b"[":
            return self._document("item")
        if first != b"{":
            return self._table()
        return self._lines() if self._is_lines() else self._document("data.item")

    def _is_lines(self) -> bool:
        """Whether the first line is an object by itself that holds no list of entries."""
        line, newline, _ = self._head.lstrip().partition(b"\n")
        if not newline and len(self._head) >= HEAD_BYTES:
            return False
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return False
        return not isinstance(value.get("data"), list)

    # JSON Lines

    def _lines(self) -> Iterator[bytes]:
        is_first = True
        while line := self._file.readline(ENTRY_BYTES_MAX + 1):
            if len(line) > ENTRY_BYTES_MAX and not line.endswith(b"\n"):
                yield TOO_LARGE + str(len(line) + self._skip_line()).encode()
            elif stripped := line.strip():
                if not line.endswith(b"\n") and not _is_json(stripped):
                    raise DamagedError("The last line is cut off.")
                if not (is_first and self._is_metadata(stripped)):
                    yield stripped
            is_first = False

    def _skip_line(self) -> int:
        skipped = 0
        while piece := self._file.readline(ENTRY_BYTES_MAX):
            skipped += len(piece)
            if piece.endswith(b"\n"):
                break
        return skipped

    def _is_metadata(self, line: bytes) -> bool:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if not isinstance(value, dict) or "title" in value or METADATA.isdisjoint(value):
            return False
        self._note_last_update(value.get("lastUpdate"))
        return True

    def _note_last_update(self, value: Any) -> None:
        if isinstance(value, str) and LAST_UPDATE.fullmatch(value):
            self.last_update = value

    # A JSON document

    def _document(self, prefix: str) -> Iterator[bytes]:
        found: list[Any] = []
        updates: list[Any] = []
        parsers = [
            ijson.items_coro(_Sink(found), prefix, use_float=True),
            ijson.items_coro(_Sink(updates), "lastUpdate", use_float=True),
        ]
        try:
            while block := self._file.read(READ_BYTES):
                for parser in parsers:
                    parser.send(block)
                yield from map(_dump, found)
                found.clear()
            for parser in parsers:
                parser.close()
        except (ijson.JSONError, UnicodeDecodeError) as error:
            raise DamagedError(f"The JSON document is broken or cut off: {_one_line(error)}.") from None
        yield from map(_dump, found)
        self._note_last_update(next(iter(updates), None))

    # CSV

    def _table(self) -> Iterator[bytes]:
        text = io.TextIOWrapper(self._file, encoding="utf-8", errors="surrogateescape", newline="")
        delimiter = _delimiter(self._head)
        rows = csv.reader(_bounded_lines(text), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(rows)]
            if TITLE_COLUMN not in [name.casefold() for name in header]:
                raise DamagedError("The source is no JSON, no JSON Lines, and no CSV with a column 'title'.")
            for row in rows:
                if not row:
                    continue
                if len(row) < len(header) and self._is_at_cut():
                    raise DamagedError("The last row is cut off.")
                yield _dump(dict(zip(header, row, strict=False)))
        except csv.Error as error:
            raise DamagedError(f"The CSV is broken or cut off at line {rows.line_num}: {error}.") from None

    def _is_at_cut(self) -> bool:
        """Whether the file ended, and not with a line."""
        return not self._file.peek(1) and self._stream.last != b"\n"


class _Sink:
    """Where ijson puts what it has parsed."""

    def __init__(self, found: list[Any]) -> None:
        self.send = found.append

    def close(self) -> None:
        """Take note of nothing."""


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a table. Raises `DamagedError` for one that would fill the memory."""
    while line := text.readline(ENTRY_BYTES_MAX):
        if len(line) == ENTRY_BYTES_MAX and not line.endswith(("\n", "\r")):
            raise DamagedError(
                f"The source is no JSON, and as CSV a line of it has over {ENTRY_BYTES_MAX:,} characters."
            )
        yield line


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _dump(value: Any) -> bytes:
    """Return a value as JSON in one line; what is no Unicode stays recognisable as an escaped surrogate."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
    return text if len(text) <= ENTRY_BYTES_MAX else TOO_LARGE + str(len(text)).encode()


def _delimiter(head: bytes) -> str:
    line = head.partition(b"\n")[0].decode("utf-8", "replace")
    return max(",;\t", key=line.count)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def form_of(entry: bytes) -> Form | None:
    """Return what an entry says that it is, or None where it does not say."""
    try:
        value = json.loads(entry)
    except (ValueError, RecursionError):
        return None
    names = {name.casefold().replace("_", "") for name in value} if isinstance(value, dict) else set()
    if "sources" in names and names & {"animeseason", "episodes", "type"}:
        return Form.ANIME
    if "title" in names and names & {"artist", "artists", "album", "trackid", "isrc"}:
        return Form.TRACKS
    return None
