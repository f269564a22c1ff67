"""A JSON document read as a stream, entry by entry: what is odd in one of them touches no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import ijson

from workers.catalogue.errors import DamagedError

ENTRY_BYTES_MAX = 1024 * 1024
"""A longer entry fails by itself; the longest of a real release has some 30 kB."""

TOO_LARGE = b"!too_large "
"""What stands in place of an entry that is too large, before its size; no JSON begins so."""

SOURCES = re.compile(rb'"sources"\s*:\s*\[[^\]]{0,65536}\]')
"""What is said behind the size, where it can be made out: who the entry is, which is there."""

DEPTH_MAX = 16
"""Of an entry: what lies deeper is left out, for nothing is read from there."""

TEXT_BYTES_MAX = 16 * ENTRY_BYTES_MAX
"""A single text or number that is longer ends the reading: the parser keeps the whole of it."""

BROKEN = (ijson.JSONError, UnicodeDecodeError, SystemError)
"""What the parser raises; the last, in so strange a way, where a number has more digits than Python reads."""

FACTS = frozenset(("lastUpdate",))
"""What is read of what a document says beside its entries."""

LIST = "data"
"""Under this key a document has its entries, unless it is a bare list of them."""

Event = tuple[str, Any]
STARTS, ENDS = frozenset(("start_map", "start_array")), frozenset(("end_map", "end_array"))


def document_entries(blocks: Iterable[bytes], facts: dict[str, Any]) -> Iterator[bytes]:
    """Yield each entry as JSON in one line, or `TOO_LARGE` and its size; `facts` gets what is said beside them.

    Raises:
        DamagedError: the document is broken or cut off, or a text of it would fill the memory.
    """
    events: list[Event] = []
    parser = ijson.basic_parse_coro(_Sink(events))
    reader = _EntryReader(facts)
    silent = 0
    try:
        for block in blocks:
            parser.send(block)
            silent = 0 if events else silent + len(block)
            if silent > TEXT_BYTES_MAX:
                raise DamagedError(f"The JSON document has a text of over {TEXT_BYTES_MAX:,} bytes.")
            yield from reader.read(events)
            events.clear()
        parser.close()
    except BROKEN as error:
        raise DamagedError(f"The JSON document is broken or cut off: {_one_line(error)}.") from None
    yield from reader.read(events)


def has_list(head: bytes) -> bool:
    """Whether the beginning of a document shows the list of its entries."""
    events: list[Event] = []
    parser = ijson.basic_parse_coro(_Sink(events))
    with suppress(*BROKEN):  # what came before is known
        parser.send(head)
    depth, key = 0, None
    for event, value in events:
        if depth == 1 and event == "start_array" and key == LIST:
            return True
        depth += (event in STARTS) - (event in ENDS)
        if depth == 1 and event == "map_key":
            key = value
    return False


def dump(value: Any) -> bytes:
    """Return a value as JSON in one line; what is no Unicode stays recognisable as an escaped surrogate."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
    return text if len(text) <= ENTRY_BYTES_MAX else too_large(len(text), text)


def too_large(size: int, beginning: bytes) -> bytes:
    """Return what stands in place of an entry of so many bytes that begins so."""
    sources = SOURCES.search(beginning)
    return TOO_LARGE + str(size).encode() + (b" " + sources[0] if sources else b"")


class _Sink:
    """Where ijson puts what it has parsed."""

    def __init__(self, found: list[Event]) -> None:
        self.send = found.append

    def close(self) -> None:
        """Take note of nothing."""


class _EntryReader:
    """Turns the parser's events into entries."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._depth = 0  # of what is around the entries
        self._key: str | None = None  # at the top
        self._listed = 0  # the depth at which entries stand; 0 outside of their list
        self._entry: _Growing | None = None

    def read(self, events: Iterable[Event]) -> Iterator[bytes]:
        """Yield the entries that end with these events."""
        for event, value in events:
            if self._entry is None and not self._begins_entry(event):
                self._look_around(event, value)
                continue
            entry = self._entry = self._entry or _Growing()
            entry.add(event, value)
            if not entry.depth:
                self._entry = None
                yield entry.dumped()

    def _begins_entry(self, event: str) -> bool:
        return self._depth == self._listed > 0 and event != "end_array"

    def _look_around(self, event: str, value: Any) -> None:
        """Note what is said beside the entries, and where their list begins and ends."""
        if event in STARTS:
            is_list = event == "start_array" and (not self._depth or (self._depth == 1 and self._key == LIST))
            self._depth += 1
            self._listed = self._depth if is_list else self._listed
        elif event in ENDS:
            self._listed = 0 if self._depth == self._listed else self._listed
            self._depth -= 1
        elif self._depth == 1 and event == "map_key":
            self._key = value
        elif self._depth == 1 and event == "string" and self._key is not None and self._key in FACTS:
            self._facts[self._key] = value


class _Growing:
    """One entry, as far as it has come."""

    def __init__(self) -> None:
        self.depth = 0
        self._size = 0  # in JSON, at least
        self._root: list[Any] = []
        self._open: list[Any] = [self._root]
        self._keys: list[str | None] = [None]

    def add(self, event: str, value: Any) -> None:
        """Take the next event; one that is too large goes on being counted, and is let go."""
        self._size += len(value) + 3 if isinstance(value, str) else 2
        if event in ENDS:
            self._end()
        elif event == "map_key":
            self._note_key(value)
        elif event in STARTS:
            self._start({} if event == "start_map" else [])
        else:
            self._put(float(value) if isinstance(value, Decimal) else value)

    def dumped(self) -> bytes:
        """Return the whole of it."""
        if self._size > ENTRY_BYTES_MAX:
            kept = self._root[0]
            sources = kept.get("sources") if isinstance(kept, dict) else None
            return too_large(self._size, json.dumps({"sources": sources}).encode())
        return dump(self._root[0])

    @property
    def _is_kept(self) -> bool:
        return self.depth <= DEPTH_MAX and self._size <= ENTRY_BYTES_MAX

    def _note_key(self, key: str) -> None:
        if self._is_kept:
            self._keys[-1] = key

    def _start(self, container: Any) -> None:
        self._put(container)
        self.depth += 1
        if self.depth <= DEPTH_MAX:
            self._open.append(container)
            self._keys.append(None)

    def _end(self) -> None:
        if self.depth <= DEPTH_MAX:
            self._open.pop()
            self._keys.pop()
        self.depth -= 1

    def _put(self, value: Any) -> None:
        if not self._is_kept:
            return
        container, key = self._open[-1], self._keys[-1]
        if isinstance(container, list):
            container.append(value)
        elif key is not None:
            container[key] = value


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")
