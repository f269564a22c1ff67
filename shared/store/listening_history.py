"""The `listening_history` collection: {userId, trackId, playedAt}, one document per play, written by clients."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson.objectid import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import BulkWriteError

from shared.model import Db, Json
from shared.periods import Granularity, Period, truncation
from shared.store.clients import moment_of, name_of, tolerant
from shared.store.merging import DUPLICATE_KEY

COLLECTION = "listening_history"
TOP = 10
SPOTIFY = "spotify"
"""Where plays are from that we have read; those of clients don't say."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """What one user has heard of one track."""

    track_id: str
    plays: int  # that tastes may be learnt from
    last_at: datetime | None  # None where no play has a time that can be read


@dataclass(frozen=True, kw_only=True)
class Play:
    """One time that a user played a track."""

    track_id: str
    played_at: datetime  # UTC, to the millisecond


def play_id(user_id: str, play: Play) -> ObjectId:
    """Return the id of a play, which is the same whoever stores it: so the same play is never there twice.

    An index that says so can't be relied on: clients have written documents here for years, some of them twice.
    """
    moment = int(play.played_at.timestamp() * 1000)
    digest = hashlib.sha256(f"{user_id}\n{play.track_id}\n{moment}".encode()).digest()
    return ObjectId((moment // 1000 & 0xFFFFFFFF).to_bytes(4) + digest[:8])


def add(library: Db, user_id: str, plays: Sequence[Play]) -> int:
    """Store plays of a user, those left out that are there already; return how many are new."""
    if not plays:
        return 0
    moments = sorted(play.played_at for play in plays)
    query = {"userId": user_id, "playedAt": {"$gte": moments[0], "$lte": moments[-1]}}
    stored = library[COLLECTION].find(query, {"_id": 0, "trackId": 1, "playedAt": 1})
    known = {(one["trackId"], one["playedAt"]) for one in stored}
    documents = {
        key: {"_id": key, "userId": user_id, "trackId": play.track_id, "playedAt": play.played_at, "source": SPOTIFY}
        for play in plays
        if (play.track_id, play.played_at) not in known
        for key in (play_id(user_id, play),)
    }
    if not documents:
        return 0
    try:
        library[COLLECTION].insert_many(list(documents.values()), ordered=False)
    except BulkWriteError as error:  # somebody else has stored some of them just now
        wrong = error.details["writeErrors"]
        if any(one["code"] != DUPLICATE_KEY for one in wrong):
            raise
        return len(documents) - len(wrong)
    return len(documents)


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("userId", ASCENDING), ("trackId", ASCENDING), ("playedAt", DESCENDING)]),
            IndexModel([("userId", ASCENDING), ("playedAt", DESCENDING)]),
            IndexModel([("playedAt", DESCENDING)]),
        ]
    )


def played(db: Db, user_id: str, *, with_spotify: bool) -> list[Played]:
    """Return every track that a user has heard; plays of what is no track are passed over.

    Unless `with_spotify`, what we have read at Spotify says only that it was heard, neither how often nor when:
    vectors of tastes are made of that, and Spotify's terms keep it out of every model.
    """
    is_theirs = {"$and": [not with_spotify, {"$eq": ["$source", SPOTIFY]}]}
    plays, at = {"$cond": [is_theirs, 0, 1]}, {"$cond": [is_theirs, None, "$playedAt"]}
    stages: list[Json] = [
        {"$match": {"userId": user_id}},
        {"$group": {"_id": "$trackId", "plays": {"$sum": plays}, "at": {"$max": at}}},
    ]
    found = tolerant(db, COLLECTION).aggregate(stages)
    return [
        Played(track_id=name, plays=int(one["plays"]), last_at=moment_of(one["at"]))
        for one in found
        if (name := name_of(one["_id"])) is not None
    ]


def of(period: Period, user_id: str | None) -> Json:
    """Return the filter that keeps the plays of a period, of one user or of all."""
    return {**({} if user_id is None else {"userId": user_id}), **period.matches("playedAt")}


def series(library: Db, period: Period, user_id: str | None, granularity: Granularity) -> list[tuple[datetime, Json]]:
    """Return plays and listeners of each step in which something was played, in order."""
    stages: list[Json] = [
        {"$match": of(period, user_id)},
        {"$group": {"_id": {"at": truncation("playedAt", granularity), "user": "$userId"}, "plays": {"$sum": 1}}},
        {"$group": {"_id": "$_id.at", "plays": {"$sum": "$plays"}, "listeners": {"$sum": 1}}},
    ]
    found = library[COLLECTION].aggregate(stages)
    rows = [(row["_id"], {"plays": row["plays"], "listeners": row["listeners"]}) for row in found]
    return sorted(rows, key=lambda row: row[0])


def totals(library: Db, period: Period, user_id: str | None) -> dict[str, int]:
    """Return how much was played in a period: plays, listeners, tracks."""
    return {
        "plays": library[COLLECTION].count_documents(of(period, user_id)),
        "listeners": _distinct(library, period, user_id, "userId"),
        "tracks": _distinct(library, period, user_id, "trackId"),
    }


def _distinct(library: Db, period: Period, user_id: str | None, field: str) -> int:
    stages: list[Json] = [{"$match": of(period, user_id)}, {"$group": {"_id": f"${field}"}}, {"$count": "n"}]
    return int(next(iter(library[COLLECTION].aggregate(stages)), {"n": 0})["n"])


def top_tracks(library: Db, period: Period, user_id: str | None) -> list[Json]:
    """Return the tracks that were played most, with their plays."""
    stages: list[Json] = [
        {"$match": of(period, user_id)},
        {"$group": {"_id": "$trackId", "plays": {"$sum": 1}}},
        {"$sort": {"plays": -1, "_id": 1}},
        {"$limit": TOP},
    ]
    return [{"trackId": row["_id"], "plays": row["plays"]} for row in library[COLLECTION].aggregate(stages)]


def by_hour_of_week(library: Db, period: Period, user_id: str | None) -> Iterable[tuple[int, int, int]]:
    """Yield plays by weekday (1 is Monday) and hour (0 to 23), in UTC."""
    when = {"day": {"$isoDayOfWeek": "$playedAt"}, "hour": {"$hour": "$playedAt"}}
    stages: list[Json] = [{"$match": of(period, user_id)}, {"$group": {"_id": when, "plays": {"$sum": 1}}}]
    for row in library[COLLECTION].aggregate(stages):
        yield row["_id"]["day"], row["_id"]["hour"], row["plays"]


def plays_with_features(
    period: Period, user_id: str | None, granularity: Granularity, *, fields: Json, wanted: Json
) -> list[Json]:
    """Return the stages that lead from the plays of a period to plays (`n`) by step (`at`) with features of the track.

    `fields` are expressions over `audio_features`, `wanted` what is grouped by in the end. The join is a union that is
    grouped by user and track: a `$lookup` for each pair takes minutes where no planner turns it into one.
    """
    pair = {"user": "$userId", "track": "$trackId"}
    mine = {} if user_id is None else {"userId": user_id}
    return [
        {"$match": of(period, user_id)},
        {"$group": {"_id": {"pair": pair, "at": truncation("playedAt", granularity)}, "n": {"$sum": 1}}},
        {"$group": {"_id": "$_id.pair", "parts": {"$push": {"at": "$_id.at", "n": "$n"}}}},
        {
            "$unionWith": {
                "coll": "audio_features",
                "pipeline": [{"$match": mine}, {"$project": {"_id": pair, "known": fields}}],
            }
        },
        {"$group": {"_id": "$_id", "parts": {"$max": "$parts"}, "known": {"$max": "$known"}}},
        {"$match": {"parts": {"$ne": None}}},
        {"$unwind": "$parts"},
        wanted,
    ]


def aggregate(library: Db, stages: list[Json]) -> Iterable[dict[str, Any]]:
    """Run stages over this collection."""
    return library[COLLECTION].aggregate(stages, allowDiskUse=True)
