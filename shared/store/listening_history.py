"""The `listening_history` collection: {userId, trackId, playedAt}, one document per play, written by clients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pymongo import ASCENDING, DESCENDING, IndexModel

from shared.model import Db, Json
from shared.store.clients import moment_of, name_of, tolerant

COLLECTION = "listening_history"


@dataclass(frozen=True, kw_only=True)
class Played:
    """What one user has heard of one track."""

    track_id: str
    plays: int
    last_at: datetime | None  # None where no play has a time that can be read


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING)]),
            IndexModel([("userId", ASCENDING), ("playedAt", DESCENDING)]),
        ]
    )


def played(db: Db, user_id: str) -> list[Played]:
    """Return every track that a user has heard; plays of what is no track are passed over."""
    stages: list[Json] = [
        {"$match": {"userId": user_id}},
        {"$group": {"_id": "$trackId", "plays": {"$sum": 1}, "at": {"$max": "$playedAt"}}},
    ]
    found = tolerant(db, COLLECTION).aggregate(stages)
    return [
        Played(track_id=name, plays=int(one["plays"]), last_at=moment_of(one["at"]))
        for one in found
        if (name := name_of(one["_id"])) is not None
    ]
