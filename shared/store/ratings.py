"""The `ratings` collection: {userId, itemId, score, status, updatedAt}, a user's opinion of an item, or its place on
their list; clients write it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from shared.model import Db, Json
from shared.store.clients import moment_of, name_of, number_of, tolerant

COLLECTION = "ratings"
SCORE_LOWEST, SCORE_HIGHEST = 1.0, 10.0  # 0 is how some lists say: no score
STATUS_MAX = 40  # characters
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Rating:
    """What one user thinks of one item."""

    item_id: str
    score: float | None  # 1 to 10
    status: str | None  # watching, completed, dropped, planned, ...; small letters
    updated_at: datetime | None


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("itemId", ASCENDING)]),
            IndexModel([("userId", ASCENDING), ("updatedAt", DESCENDING)]),
            IndexModel([("updatedAt", DESCENDING)]),
        ]
    )


def rated(db: Db, user_id: str) -> list[Rating]:
    """Return a user's opinion of each item, the latest where there are several; what names no item is passed over."""
    fields = {"_id": 0, "itemId": 1, "score": 1, "status": 1, "updatedAt": 1}
    latest: dict[str, Rating] = {}
    for document in tolerant(db, COLLECTION).find({"userId": user_id}, fields):
        rating = _read(document)
        if rating is not None and _when(rating) >= _when(latest.get(rating.item_id)):
            latest[rating.item_id] = rating
    return list(latest.values())


def _when(rating: Rating | None) -> datetime:
    return _LONG_AGO if rating is None or rating.updated_at is None else rating.updated_at


def _read(document: Json) -> Rating | None:
    name = name_of(document.get("itemId"))
    if name is None:
        return None
    return Rating(
        item_id=name,
        score=number_of(document.get("score"), SCORE_LOWEST, SCORE_HIGHEST),
        status=_status(document.get("status")),
        updated_at=moment_of(document.get("updatedAt")),
    )


def _status(value: Any) -> str | None:
    return value.strip().casefold()[:STATUS_MAX] or None if isinstance(value, str) else None
