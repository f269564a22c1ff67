"""Where a reader of pages stands: in which snapshot, behind how many hits, of which search."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Self

from shared.errors import InvalidCursor
from shared.search import AnySearch

_DIGEST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place among the hits of a search."""

    snapshot: str
    offset: int
    fingerprint: str  # of the search, so that a cursor goes on with no other

    @classmethod
    def parse(cls, search: AnySearch) -> Self | None:
        """Return the place that a search goes on from; None for its first page. Raises `InvalidCursor`."""
        if search.cursor is None:
            return None
        try:
            text = base64.b64decode(search.cursor.encode(), altchars=b"-_", validate=True).decode()
            snapshot, offset, fingerprint = text.split(".")
            position = cls(snapshot=snapshot, offset=int(offset), fingerprint=fingerprint)
        except (ValueError, binascii.Error):
            raise InvalidCursor("This is no cursor of a search.") from None
        if position.offset < 0 or str(position) != search.cursor:
            raise InvalidCursor("This is no cursor of a search.")
        if position.fingerprint != fingerprint_of(search):
            raise InvalidCursor("The cursor belongs to another search.")
        return position

    def __str__(self) -> str:
        """Return the cursor that stands for this place."""
        text = f"{self.snapshot}.{self.offset}.{self.fingerprint}"
        return base64.urlsafe_b64encode(text.encode()).decode()


def fingerprint_of(search: AnySearch) -> str:
    """Return what two searches have in common that differ in their page alone."""
    content = search.model_dump_json(exclude={"cursor", "limit"})
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGEST_SHOWN]
