"""Byte ranges and validators of a download (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.datastructures import Headers

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Span:
    """The bytes [start, stop) of a whole."""

    start: int
    stop: int


class NotSatisfiable(Exception):
    """The range that is asked for lies outside of the whole."""


def is_unchanged(headers: Headers, etag: str) -> bool:
    """Whether the client has the whole already, by `If-None-Match`."""
    known = headers.get("if-none-match")
    if known is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
    return "*" in tags or etag in tags


def wanted(headers: Headers, etag: str, size: int) -> Span | None:
    """Return the range that is asked for; None for the whole. Raises `NotSatisfiable`.

    A range that can't be read, several at once, and a range of another version are passed over, as the standard has it.
    """
    text = headers.get("range")
    if text is None or headers.get("if-range", etag) != etag:
        return None
    found = _RANGE.fullmatch(text)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(size - int(last), 0), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise NotSatisfiable(text)
    return Span(start=start, stop=stop)
