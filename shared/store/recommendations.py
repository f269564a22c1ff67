"""The `recommendations` collection: a batch of documents per user, index and job; the newest batch is what holds.

Earlier ones stay until they expire: how right they were is judged by what was played and rated after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne
from pymongo.errors import BulkWriteError

from shared.model import Db, Json, Record
from shared.periods import Granularity, Period, truncation
from shared.store.indexes import IndexName

COLLECTION = "recommendations"
BATCH_MAX = 200
KEPT = timedelta(days=30)
"""What has expired is kept for so long, so that a reader can be told that it has."""

HORIZON = timedelta(days=7)
"""A recommendation is a hit if its user plays it, or rates it well, within this time of it."""
LIKED = 7.0
"""The least score of a rating that counts as a hit, of 10."""
CUTS = (1, 5, 10)
SHOWN = 50

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
    cold_start: bool  # nothing was known that the user likes
    created_at: datetime
    expires_at: datetime
    job_id: str
    withdrawn_by: str | None = None  # the later job that found nothing to put in its place


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection, those that clients rely on included."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("index", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("createdAt", DESCENDING)]),
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


def withdraw(db: Db, user_id: str, index: IndexName, job_id: str, moment: datetime) -> None:
    """Have what a user was recommended so far expire now: a job has found that nothing is left to recommend."""
    query: Json = {"userId": user_id, "index": index, "expiresAt": {"$gt": moment}, "jobId": {"$ne": job_id}}
    db[COLLECTION].update_many(query, {"$set": {"expiresAt": moment, "withdrawnBy": job_id}})


def delete_earlier_attempt(db: Db, user_id: str, index: IndexName, job_id: str, stored: int) -> None:
    """Delete what a job's first attempt at a user has left behind the `stored` ones that a later attempt wrote over."""
    left = [recommendation_id(index, job_id, user_id, rank) for rank in range(stored + 1, BATCH_MAX + 1)]
    db[COLLECTION].delete_many({"_id": {"$in": left}})


def newest(db: Db, user_id: str, index: IndexName) -> list[Recommendation]:
    """Return the newest batch of a user, by rank, whether or not it has expired."""
    query: Json = {"userId": user_id, "index": index}
    found = db[COLLECTION].find(query).sort("createdAt", DESCENDING).limit(2 * BATCH_MAX)
    batch = [Recommendation.from_document(document) for document in found]
    return sorted((one for one in batch if one.job_id == batch[0].job_id), key=lambda one: one.rank)


def judged(period: Period, user_id: str | None) -> list[Json]:
    """Return the stages that lead from the recommendations of a period to each with its `list`, `rank` and `hitAt`.

    A list is a batch, or what one user was recommended on one day (UTC) by documents that name no job; the highest
    score is first.
    """
    mine = {} if user_id is None else {"userId": user_id}
    pair = {"user": "$userId", "track": {"$ifNull": ["$trackId", "$itemId"]}}
    until = {"$dateAdd": {"startDate": "$at", "unit": "day", "amount": HORIZON.days}}
    after = [{"$gt": ["$$play", "$at"]}, {"$lte": ["$$play", until]}]
    plays = {"$filter": {"input": "$plays", "as": "play", "cond": {"$and": after}}}
    return [
        {"$match": {**mine, **period.matches("createdAt")}},
        {"$project": {"_id": 1, "pair": pair, "made": {"at": "$createdAt", "score": "$score", "job": "$jobId"}}},
        _beside("listening_history", {**mine, **_around(period, "playedAt")}, pair, "$playedAt"),
        _beside("ratings", {**mine, "score": {"$gte": LIKED}, **_around(period, "updatedAt")}, pair, "$updatedAt"),
        {"$group": {"_id": "$pair", "made": {"$push": "$made"}, "plays": {"$push": "$play"}}},
        {"$match": {"made.0": {"$exists": True}}},
        {"$unwind": "$made"},
        {
            "$project": {
                "_id": 0,
                "userId": "$_id.user",
                "trackId": "$_id.track",
                "score": "$made.score",
                "at": "$made.at",
                "job": "$made.job",
                "plays": 1,
            }
        },
        {
            "$set": {
                "list": {
                    "user": "$userId",
                    "batch": {"$ifNull": ["$job", {"$dateToString": {"date": "$at", "format": "%Y-%m-%d"}}]},
                },
                "hitAt": {"$min": plays},
            }
        },
        {"$unset": ["plays", "job"]},
        {
            "$setWindowFields": {
                "partitionBy": "$list",
                "sortBy": {"score": -1, "trackId": 1},
                "output": {"rank": {"$documentNumber": {}}},
            }
        },
    ]


def _around(period: Period, field: str) -> Json:
    """Return the query for what may be a hit of the period's recommendations."""
    return {} if period.start is None else {field: {"$gte": period.start, "$lt": period.stop + HORIZON}}


def _beside(collection: str, query: Json, pair: Json, moment: str) -> Json:
    """Return the stage that puts what users did beside what was recommended to them."""
    stages = [{"$match": query}, {"$project": {"pair": pair, "play": moment}}]
    return {"$unionWith": {"coll": collection, "pipeline": stages}}


def accuracy(library: Db, period: Period, user_id: str | None, granularity: Granularity) -> Iterable[dict[str, Any]]:
    """Yield, for each step, the lists and recommendations of it, hits at each cut, and the sum of reciprocal ranks."""
    is_hit = {"$ne": [{"$ifNull": ["$hitAt", None]}, None]}
    best = {"$cond": [is_hit, "$rank", None]}
    stages = [
        *judged(period, user_id),
        {
            "$group": {
                "_id": "$list",
                "at": {"$min": "$at"},
                "made": {"$sum": 1},
                "hits": {"$sum": {"$cond": [is_hit, 1, 0]}},
                "first": {"$min": best},
                "top": {"$sum": {"$cond": [{"$lte": ["$rank", CUTS[-1]]}, 1, 0]}},
                "topHits": {"$sum": {"$cond": [{"$and": [is_hit, {"$lte": ["$rank", CUTS[-1]]}]}, 1, 0]}},
            }
        },
        {
            "$group": {
                "_id": truncation("at", granularity),
                "lists": {"$sum": 1},
                "recommendations": {"$sum": "$made"},
                "hits": {"$sum": "$hits"},
                "top": {"$sum": "$top"},
                "topHits": {"$sum": "$topHits"},
                "reciprocal": {
                    "$sum": {"$cond": [{"$gt": ["$first", 0]}, {"$divide": [1, {"$max": ["$first", 1]}]}, 0]}
                },
                **{f"hitAt{cut}": {"$sum": {"$cond": [_within(cut), 1, 0]}} for cut in CUTS},
            }
        },
        {"$sort": {"_id": 1}},
    ]
    return library[COLLECTION].aggregate(stages, allowDiskUse=True)


def _within(cut: int) -> Json:
    return {"$and": [{"$gt": ["$first", 0]}, {"$lte": ["$first", cut]}]}


def newest_judged(library: Db, period: Period, user_id: str | None) -> Iterable[dict[str, Any]]:
    """Yield the newest recommendations of a period, each with what became of it."""
    stages = [*judged(period, user_id), {"$sort": {"at": -1, "rank": 1}}, {"$limit": SHOWN}]
    return library[COLLECTION].aggregate(stages, allowDiskUse=True)
