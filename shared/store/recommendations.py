"""The `recommendations` collection of a library: what was recommended to whom, and when."""

from __future__ import annotations

from pymongo import ASCENDING, DESCENDING, IndexModel

from shared.model import Db

COLLECTION = "recommendations"


def ensure_indexes(library: Db) -> None:
    """Create the indexes of this collection."""
    library[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("createdAt", DESCENDING)]),
        ]
    )
