"""The `listening_history` collection of a library: each time that a user played a track."""

from __future__ import annotations

from pymongo import ASCENDING, DESCENDING, IndexModel

from shared.model import Db

COLLECTION = "listening_history"


def ensure_indexes(library: Db) -> None:
    """Create the indexes of this collection."""
    library[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("playedAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING), ("playedAt", DESCENDING)]),
            IndexModel([("playedAt", DESCENDING)]),
        ]
    )
