"""The analyses of a library: what was listened to, in which mood, of which genres, and how right recommendations were.

Each is counted by MongoDB; only a row for each step of a series and each class comes here. Moments are UTC. Every
analysis is compared with the period of the same length before.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.errors import NotOffered
from shared.forecast import forecast
from shared.labels import MOODS, QUADRANTS, are_shares, genres_of_features, mood_of, quadrant_of
from shared.model import Db, Json
from shared.periods import Granularity, Period, begin_of, step_after, steps
from shared.store import listening_history, recommendations
from shared.store.recommendations import CUTS

SEASONS: Mapping[Granularity, tuple[int, int]] = {
    Granularity.HOUR: (24, 24),
    Granularity.DAY: (7, 7),
    Granularity.WEEK: (4, 4),
    Granularity.MONTH: (12, 3),
}
"""The length of a season, and how far ahead is forecast, in steps."""


class Analysis(StrEnum):
    """What can be analysed."""

    LISTENING_TRENDS = "listening-trends"
    MOOD_ANALYSIS = "mood-analysis"
    GENRE_DISTRIBUTION = "genre-distribution"
    RECOMMENDATION_ACCURACY = "recommendation-accuracy"


def checked_analysis(text: str) -> Analysis:
    """Return an analysis that there is. Raises `NotOffered`."""
    try:
        return Analysis(text)
    except ValueError:
        raise NotOffered(f"There is no analysis {text[:40]!r}: those are {', '.join(Analysis)}.") from None


READS: Mapping[Analysis, tuple[str, ...]] = {
    Analysis.LISTENING_TRENDS: ("listening_history",),
    Analysis.MOOD_ANALYSIS: ("listening_history", "audio_features"),
    Analysis.GENRE_DISTRIBUTION: ("listening_history", "audio_features"),
    Analysis.RECOMMENDATION_ACCURACY: ("recommendations", "listening_history", "ratings"),
}
"""The collections that an analysis reads."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is analysed, of which time, in which steps, of whom."""

    analysis: Analysis
    period: Period
    granularity: Granularity
    user_id: str | None = None


def analyse(library: Db, question: Question) -> Json:
    """Return an analysis, as JSON."""
    return _ANALYSES[question.analysis](library, question)


def compared(current: Mapping[str, float], previous: Mapping[str, float] | None) -> Json | None:
    """Return how figures differ from those of the period before; None where there was none."""
    if previous is None:
        return None
    return {name: _compared(value, previous.get(name, 0)) for name, value in current.items()}


def _compared(current: float, previous: float) -> Json:
    percent = round(100 * (current - previous) / previous, 2) if previous else None
    return {"current": current, "previous": previous, "change": round(current - previous, 6), "changePercent": percent}


# Listening


def _listening_trends(library: Db, question: Question) -> Json:
    period, user, granularity = question.period, question.user_id, question.granularity
    found = dict(listening_history.series(library, period, user, granularity))
    current = listening_history.totals(library, period, user)
    previous = listening_history.totals(library, period.before, user) if period.before else None
    rows = list(_filled(found, question))
    return {
        "totals": current,
        "series": rows,
        "topTracks": listening_history.top_tracks(library, period, user),
        "patterns": patterns(library, period, user),
        "forecast": _forecast(rows, question),
        "comparison": compared(current, previous),
    }


def _filled(found: Mapping[datetime, Json], question: Question) -> Iterable[Json]:
    """Yield a row for each step, also for those in which nothing was played."""
    first = question.period.start or min(found, default=None)
    if first is None:
        return
    by_moment = {moment.timestamp(): values for moment, values in found.items()}
    for moment in steps(first, question.period.stop, question.granularity):
        yield {"at": moment.isoformat(), **by_moment.get(moment.timestamp(), {"plays": 0, "listeners": 0})}


def _forecast(rows: list[Json], question: Question) -> Json:
    """Say what is expected next, from the steps that are over: the last one may still go on."""
    season, horizon = SEASONS[question.granularity]
    # Nor is the first whole, unless the period happens to begin with a step.
    whole = rows[1:-1]
    expected = forecast([row["plays"] for row in whole], season=season, horizon=horizon)
    moment = begin_of(question.period.stop, question.granularity)
    if whole and moment == question.period.stop:
        moment = begin_of(datetime.fromisoformat(rows[-1]["at"]), question.granularity)
    points = []
    for value in expected.values:
        points.append({"at": moment.isoformat(), "plays": round(value, 2)})
        moment = step_after(moment, question.granularity)
    return {
        "method": expected.method,
        "meanAbsoluteError": None if expected.mean_absolute_error is None else round(expected.mean_absolute_error, 3),
        "heldOut": expected.held_out,
        "values": points,
    }


def patterns(library: Db, period: Period, user_id: str | None) -> Json:
    """Return plays by hour of the day and by day of the week, and when most is played."""
    hours, days = [0] * 24, [0] * 7
    for day, hour, plays in listening_history.by_hour_of_week(library, period, user_id):
        hours[hour] += plays
        days[day - 1] += plays
    has_any = any(hours)
    return {
        "byHour": hours,
        "byWeekday": days,
        "peakHour": hours.index(max(hours)) if has_any else None,
        "peakWeekday": days.index(max(days)) + 1 if has_any else None,
    }


# Moods


def _mood_rows(library: Db, period: Period, question: Question) -> list[dict[str, Any]]:
    """Return plays by step, mood and quadrant, with the sums of valence and energy."""
    valence, energy = "$known.valence", "$known.energy"
    is_known = are_shares(valence, energy)
    group = {
        "at": "$parts.at",
        "mood": {"$cond": [is_known, mood_of(valence, energy), "unknown"]},
        "quadrant": {"$cond": [is_known, quadrant_of(valence, energy), "unknown"]},
    }
    sums = {
        name: {"$sum": {"$cond": [is_known, {"$multiply": ["$parts.n", field]}, 0]}}
        for name, field in (("valence", valence), ("energy", energy))
    }
    wanted = {"$group": {"_id": group, "plays": {"$sum": "$parts.n"}, **sums}}
    fields = {"valence": "$valence", "energy": "$energy"}
    stages = listening_history.plays_with_features(
        period, question.user_id, question.granularity, fields=fields, wanted=wanted
    )
    return list(listening_history.aggregate(library, stages))


def _mood_analysis(library: Db, question: Question) -> Json:
    rows = _mood_rows(library, question.period, question)
    current, figures = _mood_counts(rows, "mood"), _mood_figures(rows)
    before = question.period.before
    earlier = _mood_rows(library, before, question) if before else None
    return {
        "plays": sum(row["plays"] for row in rows),
        "moods": _shares(current, MOODS, "mood"),
        "quadrants": _shares(_mood_counts(rows, "quadrant"), QUADRANTS, "quadrant"),
        "averages": figures,
        "series": [
            {"at": at.isoformat(), **_mood_figures(part), "plays": sum(row["plays"] for row in part)}
            for at, part in _by_step(rows)
        ],
        "comparison": None
        if earlier is None
        else {
            "shares": compared(_share_of(current), _share_of(_mood_counts(earlier, "mood"))),
            "averages": compared(_numbers(figures), _numbers(_mood_figures(earlier))),
        },
    }


def _mood_counts(rows: Iterable[dict[str, Any]], name: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["_id"][name]] += row["plays"]
    return counts


def _mood_figures(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    known = [row for row in rows if row["_id"]["mood"] != "unknown"]
    plays = sum(row["plays"] for row in known)
    return {
        name: round(sum(row[name] for row in known) / plays, 3) if plays else None for name in ("valence", "energy")
    }


def _numbers(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value or 0.0 for name, value in figures.items()}


def _by_step(rows: Iterable[dict[str, Any]]) -> list[tuple[datetime, list[dict[str, Any]]]]:
    found: dict[datetime, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["_id"]["at"]].append(row)
    return sorted(found.items(), key=lambda item: item[0])


def _share_of(counts: Mapping[str, float]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: round(count / total, 4) if total else 0.0 for name, count in counts.items()}


def _shares(counts: Mapping[str, float], names: Iterable[str], label: str) -> list[Json]:
    shares = _share_of(counts)
    return [{label: name, "plays": round(counts.get(name, 0), 2), "share": shares.get(name, 0.0)} for name in names]


# Genres


def _genre_rows(library: Db, period: Period, question: Question) -> list[dict[str, Any]]:
    """Return plays by step and set of genres."""
    wanted = {
        "$group": {
            "_id": {"at": "$parts.at", "genres": {"$ifNull": ["$known.genres", []]}},
            "plays": {"$sum": "$parts.n"},
        }
    }
    shared_out: list[Json] = [
        {"$set": {"share": {"$divide": ["$plays", {"$max": [{"$size": "$_id.genres"}, 1]}]}}},
        {"$unwind": {"path": "$_id.genres", "preserveNullAndEmptyArrays": True}},
        {
            "$group": {
                "_id": {"at": "$_id.at", "genre": {"$ifNull": ["$_id.genres", "unknown"]}},
                "plays": {"$sum": "$share"},
            }
        },
    ]
    stages = listening_history.plays_with_features(
        period, question.user_id, question.granularity, fields={"genres": genres_of_features()}, wanted=wanted
    )
    return list(listening_history.aggregate(library, [*stages, *shared_out]))


def _genre_distribution(library: Db, question: Question) -> Json:
    rows = _genre_rows(library, question.period, question)
    counts = _mood_counts(rows, "genre")
    before = question.period.before
    earlier = _mood_counts(_genre_rows(library, before, question), "genre") if before else None
    known = {name: count for name, count in counts.items() if name != "unknown"}
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    return {
        "plays": round(sum(counts.values()), 2),
        "genres": _shares(counts, ordered, "genre"),
        "effectiveGenres": _effective(known),
        "series": [
            {"at": at.isoformat(), "genres": {row["_id"]["genre"]: round(row["plays"], 2) for row in part}}
            for at, part in _by_step(rows)
        ],
        "comparison": None if earlier is None else {"shares": compared(_share_of(counts), _share_of(earlier))},
    }


def _effective(counts: Mapping[str, float]) -> float:
    """Return the number of equally frequent genres that would be as diverse: exp of Shannon's entropy (Hill, 1973)."""
    total = sum(counts.values())
    parts = [count / total for count in counts.values() if count] if total else []
    return round(math.exp(-sum(part * math.log(part) for part in parts)), 3) if parts else 0.0


# Recommendations


def _recommendation_accuracy(library: Db, question: Question) -> Json:
    period, user = question.period, question.user_id
    rows = list(recommendations.accuracy(library, period, user, question.granularity))
    before = period.before
    earlier = list(recommendations.accuracy(library, before, user, question.granularity)) if before else None
    current = _accuracy(rows)
    return {
        **current,
        "horizonDays": recommendations.HORIZON.days,
        "series": [{"at": row["_id"].isoformat(), **_accuracy([row])} for row in rows],
        "recommendations": [_judged(row) for row in recommendations.newest_judged(library, period, user)],
        "comparison": None if earlier is None else compared(_numbers(current), _numbers(_accuracy(earlier))),
    }


def _accuracy(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update({name: value for name, value in row.items() if name != "_id"})
    lists, top = sums["lists"], sums["top"]
    rates = {f"hitRateAt{cut}": round(sums[f"hitAt{cut}"] / lists, 4) if lists else None for cut in CUTS}
    return {
        "lists": lists,
        "recommended": sums["recommendations"],
        "hits": sums["hits"],
        **rates,
        f"precisionAt{CUTS[-1]}": round(sums["topHits"] / top, 4) if top else None,
        "meanReciprocalRank": round(sums["reciprocal"] / lists, 4) if lists else None,
    }


def _judged(row: dict[str, Any]) -> Json:
    hit = row.get("hitAt")
    return {
        "userId": row.get("userId"),
        "trackId": row.get("trackId"),
        "score": row.get("score"),
        "createdAt": row["at"].isoformat(),
        "rank": row["rank"],
        "isHit": hit is not None,
        "hitAt": hit.isoformat() if hit is not None else None,
    }


_ANALYSES: Mapping[Analysis, Callable[[Db, Question], Json]] = {
    Analysis.LISTENING_TRENDS: _listening_trends,
    Analysis.MOOD_ANALYSIS: _mood_analysis,
    Analysis.GENRE_DISTRIBUTION: _genre_distribution,
    Analysis.RECOMMENDATION_ACCURACY: _recommendation_accuracy,
}
