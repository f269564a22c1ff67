"""The `recommendations` collection of a library: what was recommended to whom, and when."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from shared.model import Db, Json
from shared.periods import Granularity, Period, truncation

COLLECTION = "recommendations"
HORIZON = timedelta(days=7)
"""A recommendation is a hit if its user plays the track within this time of it."""
CUTS = (1, 5, 10)
SHOWN = 50


def ensure_indexes(library: Db) -> None:
    """Create the indexes of this collection."""
    library[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("createdAt", DESCENDING)]),
        ]
    )


def judged(period: Period, user_id: str | None) -> list[Json]:
    """Return the stages that lead from the recommendations of a period to each with its `list`, `rank` and `hitAt`.

    A list is what one user was recommended on one day (UTC), the highest score first.
    """
    mine = {} if user_id is None else {"userId": user_id}
    played = {} if period.start is None else {"playedAt": {"$gte": period.start, "$lt": period.stop + HORIZON}}
    pair = {"user": "$userId", "track": "$trackId"}
    until = {"$dateAdd": {"startDate": "$at", "unit": "day", "amount": HORIZON.days}}
    after = [{"$gt": ["$$play", "$at"]}, {"$lte": ["$$play", until]}]
    plays = {"$filter": {"input": "$plays", "as": "play", "cond": {"$and": after}}}
    return [
        {"$match": {**mine, **period.matches("createdAt")}},
        {"$project": {"_id": 1, "pair": pair, "made": {"at": "$createdAt", "score": "$score"}}},
        {
            "$unionWith": {
                "coll": "listening_history",
                "pipeline": [{"$match": {**mine, **played}}, {"$project": {"pair": pair, "play": "$playedAt"}}],
            }
        },
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
                "plays": 1,
            }
        },
        {
            "$set": {
                "list": {
                    "user": "$userId",
                    "day": {"$dateToString": {"date": "$at", "format": "%Y-%m-%d"}},
                },
                "hitAt": {"$min": plays},
            }
        },
        {"$unset": "plays"},
        {
            "$setWindowFields": {
                "partitionBy": "$list",
                "sortBy": {"score": -1, "trackId": 1},
                "output": {"rank": {"$documentNumber": {}}},
            }
        },
    ]


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
