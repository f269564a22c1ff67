"""What a library says at a glance: how much there is, what it sounds like, how one user listens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from time import perf_counter
from typing import Any

from pymongo.errors import OperationFailure

from shared.analytics import compared, patterns
from shared.labels import are_shares, genres_of_features, mood_of
from shared.library import COLLECTIONS
from shared.model import Db, Json
from shared.periods import Period
from shared.store import audio_features, listening_history, sizes

QUIET, LIVELY = 0.4, 0.7
"""Below and above which energy is low and high, as in the clients' rules for moods."""
GENRES = 10


def insights(library: Db, period: Period, *, with_patterns: bool) -> Json:
    """Return features and listening of a period, and what the library holds."""
    plays = listening_history.totals(library, period, None)
    before = listening_history.totals(library, period.before, None) if period.before else None
    return {
        "insights": {"audioFeatures": audio_features.profile(library, period), "system": system(library)},
        "analytics": {"listening": plays, "comparison": compared(plays, before)},
        "listeningPatterns": patterns(library, period, None) if with_patterns else None,
    }


def system(library: Db) -> Json:
    """Return how many documents each collection of a library holds, by the server's own count."""
    return {"documents": {name: library[name].estimated_document_count() for name in COLLECTIONS}}


def stats(library: Db) -> Json:
    """Return how the database answers, and how large the collections of a library are."""
    started = perf_counter()
    library.command("ping")
    milliseconds = (perf_counter() - started) * 1000
    found = {name: sizes.of_collection(library, name) for name in COLLECTIONS}
    return {
        "health": {"status": "healthy", "milliseconds": round(milliseconds, 2)},
        "metrics": {
            name: {
                "documents": size.documents,
                "sizeBytes": size.size,
                "averageBytes": size.average,
                "indexes": size.indexes,
                "indexBytes": size.index_size,
            }
            for name, size in found.items()
        },
        "connections": _connections(library),
    }


def _connections(library: Db) -> Json | None:
    """Return the connections of the server; None where it does not tell."""
    try:
        found = library.client.admin.command("serverStatus").get("connections", {})
    except OperationFailure:
        return None
    return {name: found.get(name) for name in ("current", "available", "totalCreated")}


# One user


def analysis_of_user(library: Db, user_id: str, stop: datetime) -> Json:
    """Return what a user's newest tracks are like, and when they listen; None in place of it without any track."""
    rows = audio_features.newest(library, user_id, _by_mood_and_energy())
    total, updated = audio_features.count_and_newest(library, user_id)
    if not rows:
        return {"analysis": None, "totalTracks": total, "lastUpdated": updated}
    analysis = {
        "mood": _moods(rows),
        "energy": _energy(rows),
        "genre_classification": _genres(audio_features.newest(library, user_id, _by_genre())),
        "listening_patterns": patterns(library, Period(start=None, stop=stop), user_id),
    }
    return {"analysis": analysis, "totalTracks": total, "lastUpdated": updated}


def _by_mood_and_energy() -> list[Json]:
    is_known = are_shares("$valence", "$energy")
    level: Json = {"$cond": [{"$gt": ["$energy", LIVELY]}, "high", "medium"]}
    level = {"$cond": [{"$lt": ["$energy", QUIET]}, "low", level]}
    group = {
        "mood": {"$cond": [is_known, mood_of("$valence", "$energy"), "unknown"]},
        "energy": {"$cond": [are_shares("$energy"), level, "unknown"]},
    }
    sums = {"n": {"$sum": 1}, "energy": {"$sum": "$energy"}, "valence": {"$sum": "$valence"}}
    return [{"$group": {"_id": group, **sums}}]


def _by_genre() -> list[Json]:
    return [
        {"$project": {"genre": genres_of_features()}},
        {"$unwind": "$genre"},
        {"$group": {"_id": "$genre", "n": {"$sum": 1}}},
        {"$sort": {"n": -1, "_id": 1}},
        {"$limit": GENRES},
    ]


def _moods(rows: Iterable[Mapping[str, Any]]) -> Json:
    counts = _counted(rows, "mood")
    known = {name: count for name, count in counts.items() if name != "unknown"}
    return {"dominant": max(known, key=known.__getitem__, default=None), "distribution": _parts(counts)}


def _energy(rows: Iterable[Mapping[str, Any]]) -> Json:
    known = [row for row in rows if row["_id"]["energy"] != "unknown"]
    count = sum(row["n"] for row in known)
    average = round(sum(row["energy"] for row in known) / count, 3) if count else None
    return {"average": average, "distribution": _parts(_counted(rows, "energy"))}


def _genres(rows: Iterable[Mapping[str, Any]]) -> Json:
    found = {row["_id"]: row["n"] for row in rows}
    return {"primary": next(iter(found), None), "tracks": found}


def _counted(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["_id"][name]] = counts.get(row["_id"][name], 0) + row["n"]
    return counts


def _parts(counts: Mapping[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: round(count / total, 4) for name, count in sorted(counts.items())}
