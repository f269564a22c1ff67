"""The formats that a catalogue comes in: a JSON document, JSON Lines, CSV; told apart by content, read as a stream."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from workers.catalogue.document import ENTRY_BYTES_MAX, LIST, document_entries, dump, has_list, too_large
from workers.catalogue.errors import DamagedError
from workers.catalogue.packing import Stream

HEAD_BYTES = ENTRY_BYTES_MAX
READ_BYTES = 64 * 1024
BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
LAST_UPDATE = re.compile(r"\d{4}-\d\d-\d\d")
METADATA = frozenset(("lastUpdate", "license", "repository", "$schema"))
TITLE_COLUMN = "title"


TOO_WIDE = b"!too_wide "
"""What stands in place of a row that has more cells than there are columns, before their numbers; as `TOO_LARGE`."""

csv.field_size_limit(ENTRY_BYTES_MAX)  # a cell is bounded by its line


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
            return self._document()
        if first != b"{":
            return self._table()
        return self._lines() if self._is_lines() else self._document()

    def _is_lines(self) -> bool:
        """Whether the first line is an entry by itself, be it a bad one, or metadata, and no document."""
        line, newline, behind = self._head.lstrip().partition(b"\n")
        if not newline and len(self._head) >= HEAD_BYTES:
            return not has_list(self._head)
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            # In no document an object follows another without a comma.
            return line.rstrip().endswith(b"}") and behind.lstrip().startswith(b"{")
        return not isinstance(value.get(LIST), list)

    # JSON Lines

    def _lines(self) -> Iterator[bytes]:
        is_first = True
        while line := self._file.readline(ENTRY_BYTES_MAX + 1):
            if len(line) > ENTRY_BYTES_MAX and not line.endswith(b"\n"):
                yield too_large(len(line) + self._skip_line(), line)
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

    def _document(self) -> Iterator[bytes]:
        facts: dict[str, Any] = {}
        yield from document_entries(iter(lambda: self._file.read(READ_BYTES), b""), facts)
        self._note_last_update(facts.get("lastUpdate"))

    # CSV

    def _table(self) -> Iterator[bytes]:
        text = io.TextIOWrapper(self._file, encoding="utf-8", errors="surrogateescape", newline="")
        delimiter = _delimiter(self._head)
        rows = csv.reader(_bounded_lines(text), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(rows)]
            if TITLE_COLUMN not in [name.casefold() for name in header]:
                raise DamagedError("The source is no JSON, no JSON Lines, and no CSV with a column 'title'.")
            for row in filter(None, rows):
                if len(row) < len(header) and self._is_at_cut():
                    raise DamagedError("The last row is cut off.")
                yield _row(header, row)
        except csv.Error as error:
            raise DamagedError(f"The CSV is broken or cut off at line {rows.line_num}: {error}.") from None

    def _is_at_cut(self) -> bool:
        """Whether the file ended, and not with a line."""
        return not self._file.peek(1) and self._stream.last != b"\n"


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a table. Raises `DamagedError` for one that would fill the memory."""
    while line := text.readline(ENTRY_BYTES_MAX):
        if len(line) == ENTRY_BYTES_MAX and not line.endswith(("\n", "\r")):
            raise DamagedError(
                f"The source is no JSON, and as CSV a line of it has over {ENTRY_BYTES_MAX:,} characters."
            )
        yield line


def _row(header: Sequence[str], row: Sequence[str]) -> bytes:
    """Return a row as JSON; `TOO_WIDE` and the numbers where cells are left over, for which column is then whose?"""
    if any(row[len(header) :]):
        return TOO_WIDE + f"{len(row)} {len(header)}".encode()
    return dump(dict(itertools.zip_longest(header, row[: len(header)], fillvalue="")))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _delimiter(head: bytes) -> str:
    line = head.partition(b"\n")[0].decode("utf-8", "replace")
    return max(",;\t", key=line.count)


def form_of(entry: bytes) -> Form | None:
    """Return what an entry says that it is, or None where it does not say."""
    names = {name.casefold().replace("_", "") for name in _object_in(entry) or {}}
    if "sources" in names and names & {"animeseason", "episodes", "type"}:
        return Form.ANIME
    if "title" in names and names & {"artist", "artists", "album", "trackid", "isrc"}:
        return Form.TRACKS
    return None


def is_object(entry: bytes) -> bool:
    """Whether an entry can be read at all."""
    return _object_in(entry) is not None


def _object_in(entry: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(entry)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
