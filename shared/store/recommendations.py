"""The `recommendations` collection: a batch of documents per user, index and job; the newest batch is what holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne
from pymongo.errors import BulkWriteError

from shared.model import Db, Json, Record
from shared.store.indexes import IndexName

COLLECTION = "recommendations"
BATCH_MAX = 200
KEPT = timedelta(days=30)
"""What has expired is kept for so long, so that a reader can be told that it has."""

_DUPLICATE = 11000


class Recommendation(Record):
    """Something that a user may like."""

    id: str = Field(alias="_id")  # index:job:user:rank
    user_id: str
    index: IndexName
    track_id: str | None = None  # of the index "tracks"
    item_id: str | None = None  # of every other
    title: str | None = None
    score: float  # above 0, up to 1
    rank: int  # from 1
    reason: str
    cold_start: bool  # nothing was known of the user's taste
    created_at: datetime
    expires_at: datetime
    job_id: str


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection, those that clients rely on included."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("index", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING)]),
            IndexModel("expiresAt", expireAfterSeconds=int(KEPT.total_seconds())),
        ]
    )


def recommendation_id(index: IndexName, job_id: str, user_id: str, rank: int) -> str:
    """Return the key of a recommendation: a job's second attempt at a user writes over its first."""
    return f"{index}:{job_id}:{user_id}:{rank}"


def insert(db: Db, batch: Sequence[Recommendation]) -> None:
    """Store a batch; readers see it from now on in place of the one before."""
    documents = [one.to_document() for one in batch]
    if not documents:
        return
    try:
        db[COLLECTION].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(one["code"] != _DUPLICATE for one in error.details["writeErrors"]):
            raise
        again = [documents[one["index"]] for one in error.details["writeErrors"]]
        db[COLLECTION].bulk_write([ReplaceOne({"_id": one["_id"]}, one) for one in again], ordered=False)


def delete_older(db: Db, user_id: str, index: IndexName, moment: datetime) -> None:
    """Delete the batches of a user that are older than that of a moment; what clients put there stays."""
    db[COLLECTION].delete_many({"userId": user_id, "index": index, "createdAt": {"$lt": moment}})


def newest(db: Db, user_id: str, index: IndexName) -> list[Recommendation]:
    """Return the newest batch of a user, by rank, whether or not it has expired."""
    query: Json = {"userId": user_id, "index": index}
    found = db[COLLECTION].find(query).sort("createdAt", DESCENDING).limit(2 * BATCH_MAX)
    batch = [Recommendation.from_document(document) for document in found]
    return sorted((one for one in batch if one.job_id == batch[0].job_id), key=lambda one: one.rank)
