"""What can be wrong with a catalogue's source, and with one entry in it."""

from __future__ import annotations

from collections.abc import Sequence


class SourceError(Exception):
    """A source of which nothing can be imported; `code` says why in one stable word."""

    code = "source_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class DamagedError(SourceError):
    """The file is cut off, does not unpack, or is in no format known to us: get it again."""

    code = "source_damaged"


class TooLargeError(SourceError):
    """The source is larger than the caller's limit."""

    code = "source_too_large"


class UnavailableError(SourceError):
    """The release can't be downloaded now: try again later."""

    code = "source_unavailable"


class EntryFault(Exception):
    """An entry that can't be used; its message names the field, and `sources` are those that could be read."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.sources: Sequence[str] = ()
