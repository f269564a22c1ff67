"""The `feature_disagreements` collection: where providers say different things of a track of a user's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field
from pymongo import ASCENDING, IndexModel, ReplaceOne

from shared.clock import now
from shared.ladder import Disagreement
from shared.model import Db, Json, Record
from shared.providers import Provider
from shared.store.merging import insert_or_update

COLLECTION = "feature_disagreements"
SEPARATOR = "\n"


class StoredDisagreement(Record):
    """One field of one track of which two providers say different things."""

    id: str = Field(alias="_id")
    user_id: str
    track_id: str
    field: str
    kept: Provider  # whose value stands in the features
    other: Provider
    kept_value: float | int
    other_value: float | int
    seen_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    by_field = [("userId", ASCENDING), ("field", ASCENDING), ("_id", ASCENDING)]
    db[COLLECTION].create_indexes([IndexModel([("userId", ASCENDING), ("_id", ASCENDING)]), IndexModel(by_field)])


def save(
    db: Db,
    user_id: str,
    found: Sequence[tuple[str, Disagreement]],
    *,
    settled: Sequence[tuple[str, str, Provider]] = (),
) -> None:
    """Keep (trackId, disagreement) of a user's tracks; a repeat takes the place of what was seen before.

    Of those that are `settled` (trackId, field, provider) nothing is kept any more.
    """
    moment = now()
    gone = [_key(user_id, *one) for one in settled]
    if gone:
        db[COLLECTION].delete_many({"_id": {"$in": gone}})
    documents, updates = [], []
    for track_id, one in found:
        key = _key(user_id, track_id, one.field, one.other)
        record = StoredDisagreement(
            id=key,
            user_id=user_id,
            track_id=track_id,
            field=one.field,
            kept=one.kept,
            other=one.other,
            kept_value=one.kept_value,
            other_value=one.other_value,
            seen_at=moment,
        )
        documents.append(record.to_document())
        updates.append(ReplaceOne({"_id": key}, documents[-1], upsert=True))
    insert_or_update(db[COLLECTION], documents, updates)


def _key(user_id: str, track_id: str, name: str, other: Provider) -> str:
    return SEPARATOR.join((user_id, track_id, name, other.value))


def page(
    db: Db, user_id: str, *, field: str | None = None, after: str | None = None, limit: int
) -> tuple[list[StoredDisagreement], str | None]:
    """Return some disagreements about a user's tracks, by track, and the key behind which the next ones come."""
    query: Json = {"userId": user_id}
    if field is not None:
        query["field"] = field
    if after is not None:
        query["_id"] = {"$gt": after}
    documents = db[COLLECTION].find(query).sort("_id", ASCENDING).limit(limit + 1)
    found = [StoredDisagreement.from_document(one) for one in documents]
    return found[:limit], found[limit - 1].id if len(found) > limit else None
