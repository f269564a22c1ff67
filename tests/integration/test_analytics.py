"""Analyses of a library: counted by MongoDB, and the same as counted by hand."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import groupby
from typing import Any

import httpx
import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from shared.access import Scope
from shared.analytics import Analysis, Question, analyse
from shared.clock import now
from shared.forecast import forecast
from shared.insights import insights
from shared.model import Db, Json
from shared.periods import Granularity, begin_of, next_hour, period_of
from shared.settings import Settings
from tests.api_server import problem_of, serving
from tests.holders import client_of, give_key
from tests.integration.engine import engine_on

STOP = datetime(2026, 11, 21, 13, tzinfo=UTC)
USERS = ("ada", "bob", "cyd")
TRACKS = tuple(f"track{n}" for n in range(12))


@pytest.fixture
def library(db: Db) -> Db:
    """Plays, features and recommendations of two periods, made by chance."""
    chance = random.Random(7)
    features = []
    for user in USERS:
        for n, track in enumerate(TRACKS[:-2]):  # of two tracks nothing is known
            document: Json = {
                "userId": user,
                "trackId": track,
                "createdAt": STOP - timedelta(days=n),
                "updatedAt": STOP,
            }
            document |= {"valence": chance.random(), "energy": chance.random() if n else None, "tempo": 100.0 + n}
            document |= {"genres": ["jazz", "soul"]} if n % 3 == 0 else {"tags": {"rock": 0.9, "loud": 0.8, "pop": 0.1}}
            features.append(document)
    db["audio_features"].insert_many(features)
    db["listening_history"].insert_many(
        [
            {
                "userId": chance.choice(USERS),
                "trackId": chance.choice(TRACKS),
                "playedAt": STOP - timedelta(minutes=chance.randrange(60 * 24 * 60)),
            }
            for _ in range(700)
        ]
    )
    db["recommendations"].insert_many(
        [
            {
                "userId": user,
                "trackId": track,
                "score": chance.random(),
                "createdAt": STOP - timedelta(days=day, minutes=chance.randrange(600)),
            }
            for user in USERS
            for day in range(1, 50, 3)
            for track in chance.sample(TRACKS, 6)
        ]
    )
    return db


def asked(db: Db, analysis: Analysis, timeframe: str = "30d", **rest: Any) -> Json:
    question = {"granularity": Granularity.DAY, **rest}
    return analyse(db, Question(analysis=analysis, period=period_of(timeframe, STOP), **question))


def plays_of(db: Db, start: datetime, stop: datetime, user: str | None = None) -> list[Json]:
    found = db["listening_history"].find({"playedAt": {"$gte": start, "$lt": stop}})
    return [play for play in found if user in (None, play["userId"])]


MONTH = timedelta(days=30)


@pytest.mark.parametrize("user", [None, "ada"])
def test_trends_count_plays_listeners_and_tracks(library: Db, user: str | None) -> None:
    found = asked(library, Analysis.LISTENING_TRENDS, user_id=user)

    current = plays_of(library, STOP - MONTH, STOP, user)
    before = plays_of(library, STOP - 2 * MONTH, STOP - MONTH, user)
    assert found["totals"] == {
        "plays": len(current),
        "listeners": len({one["userId"] for one in current}),
        "tracks": len({one["trackId"] for one in current}),
    }
    assert found["comparison"]["plays"]["previous"] == len(before)
    assert found["comparison"]["plays"]["change"] == len(current) - len(before)
    tracks = Counter(one["trackId"] for one in current)
    assert {one["trackId"]: one["plays"] for one in found["topTracks"]}.items() <= tracks.items()
    assert found["topTracks"][0]["plays"] == max(tracks.values())
    hours = Counter(one["playedAt"].hour for one in current)
    assert found["patterns"]["byHour"] == [hours[hour] for hour in range(24)]


@pytest.mark.parametrize("granularity", list(Granularity))
def test_a_series_has_a_row_for_each_step(library: Db, granularity: Granularity) -> None:
    found = asked(library, Analysis.LISTENING_TRENDS, granularity=granularity)

    counts = Counter(begin_of(one["playedAt"], granularity) for one in plays_of(library, STOP - MONTH, STOP))
    rows = {datetime.fromisoformat(row["at"]): row["plays"] for row in found["series"]}
    assert {moment: plays for moment, plays in rows.items() if plays} == counts
    assert list(rows) == sorted(rows)
    assert len(rows) in {Granularity.HOUR: (720,), Granularity.DAY: (31,), Granularity.WEEK: (5, 6)}.get(
        granularity, (2,)
    )


def test_a_forecast_goes_on_behind_the_series(library: Db) -> None:
    found = asked(library, Analysis.LISTENING_TRENDS)["forecast"]

    assert [point["at"][:10] for point in found["values"]] == [f"2026-11-{day}" for day in range(21, 28)]
    assert found["method"] in ("seasonal_naive", "linear_trend")
    assert found["meanAbsoluteError"] >= 0
    assert found["heldOut"] == 7


@pytest.mark.parametrize(
    ("values", "season", "method", "expected"),
    [
        ([1, 5, 2, 1, 5, 2, 1, 5, 2, 1, 5, 2], 3, "seasonal_naive", (1, 5, 2)),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 3, "linear_trend", (11, 12, 13)),
        ([10, 8, 6, 4, 2, 0], 9, "linear_trend", (0, 0, 0)),
        ([4, 6], 3, "mean", (5, 5, 5)),
        ([], 3, "mean", (0, 0, 0)),
    ],
)
def test_the_method_is_the_one_that_would_have_been_right(
    values: list[float], season: int, method: str, expected: tuple[float, ...]
) -> None:
    found = forecast(values, season=season, horizon=3)

    assert found.method == method
    assert found.values == pytest.approx(expected)


def mood(feature: Json | None) -> str:
    valence, energy = (feature or {}).get("valence"), (feature or {}).get("energy")
    if valence is None or energy is None:
        return "unknown"
    if energy > 0.7 and valence > 0.7:
        return "party"
    if energy < 0.4 and valence < 0.4:
        return "melancholic"
    if energy > 0.6 and valence < 0.4:
        return "intense"
    return "calm" if energy < 0.5 and valence > 0.6 else "balanced"


def feature_of(db: Db, play: Json) -> Json | None:
    return db["audio_features"].find_one({"userId": play["userId"], "trackId": play["trackId"]})


def test_moods_are_those_of_the_clients_rules_play_by_play(library: Db) -> None:
    found = asked(library, Analysis.MOOD_ANALYSIS)

    plays = plays_of(library, STOP - MONTH, STOP)
    features = [feature_of(library, play) for play in plays]
    counts = Counter(map(mood, features))
    assert {one["mood"]: one["plays"] for one in found["moods"] if one["plays"]} == counts
    assert sum(one["share"] for one in found["moods"]) == pytest.approx(1, abs=0.001)
    assert sum(one["plays"] for one in found["quadrants"]) == len(plays) == found["plays"]
    known = [one for one in features if one is not None and mood(one) != "unknown"]
    assert found["averages"]["energy"] == pytest.approx(sum(one["energy"] for one in known) / len(known), abs=0.001)
    assert sum(row["plays"] for row in found["series"]) == len(plays)
    assert set(found["comparison"]) == {"shares", "averages"}


@pytest.mark.parametrize("timeframe", ["30d", "all"])
def test_numbers_that_are_none_and_moments_that_never_were_spoil_nothing(library: Db, timeframe: str) -> None:
    before = {analysis: asked(library, analysis, timeframe) for analysis in Analysis}
    unknown = [one["plays"] for one in before[Analysis.MOOD_ANALYSIS]["moods"] if one["mood"] == "unknown"]
    for n, odd in enumerate((math.nan, Decimal128("NaN"), 7, "0.5")):
        values = {"valence": odd, "energy": odd, "createdAt": STOP}
        library["audio_features"].insert_one({"userId": "odd", "trackId": f"odd{n}", **values})
        library["listening_history"].insert_one(
            {"userId": "odd", "trackId": f"odd{n}", "playedAt": STOP - timedelta(days=1)}
        )
    library["listening_history"].insert_one({"userId": "odd", "trackId": "t", "playedAt": DatetimeMS(-(2**60))})

    after = {analysis: asked(library, analysis, timeframe) for analysis in Analysis}

    json.dumps(after, allow_nan=False)
    moods = after[Analysis.MOOD_ANALYSIS]
    assert moods["averages"] == before[Analysis.MOOD_ANALYSIS]["averages"]
    assert [one["plays"] - 4 for one in moods["moods"] if one["mood"] == "unknown"] == unknown
    trends = after[Analysis.LISTENING_TRENDS]["totals"]
    assert trends["plays"] == before[Analysis.LISTENING_TRENDS]["totals"]["plays"] + 4
    found = insights(library, period_of(timeframe, STOP), with_patterns=True)
    json.dumps(found, allow_nan=False)


def test_a_timeframe_begins_with_its_first_moment_and_ends_before_its_last(db: Db) -> None:
    """By hand: of these moments two lie in the day, and two in the day before; whatever zone they were written in."""
    elsewhere = timezone(timedelta(hours=-9, minutes=-30))
    day, tick = timedelta(days=1), timedelta(milliseconds=1)
    moments = [STOP, STOP - tick, STOP - day, STOP - day - tick, STOP - 2 * day, STOP - 2 * day - tick]
    db["listening_history"].insert_many(
        [{"userId": "ada", "trackId": "t", "playedAt": one.astimezone(elsewhere)} for one in moments]
    )

    found = asked(db, Analysis.LISTENING_TRENDS, "1d")

    assert found["totals"]["plays"] == 2
    assert found["comparison"]["plays"] == {"current": 2, "previous": 2, "change": 0, "changePercent": 0.0}
    # Steps are UTC's days: the 20th from 13:00 on, and the 21st up to it.
    assert {row["at"]: row["plays"] for row in found["series"]} == {
        "2026-11-20T00:00:00+00:00": 1,
        "2026-11-21T00:00:00+00:00": 1,
    }


def test_a_play_is_shared_out_among_its_genres(library: Db) -> None:
    found = asked(library, Analysis.GENRE_DISTRIBUTION)

    expected: Counter[str] = Counter()
    for play in plays_of(library, STOP - MONTH, STOP):
        feature = feature_of(library, play)
        genres = ["unknown"] if feature is None else feature.get("genres") or ["rock"]
        expected.update({genre: 1 / len(genres) for genre in genres})
    assert {one["genre"]: one["plays"] for one in found["genres"]} == pytest.approx(expected, abs=0.01)
    assert 1 < found["effectiveGenres"] <= 3


def test_recommendations_are_judged_by_what_was_played_after_them(library: Db) -> None:
    found = asked(library, Analysis.RECOMMENDATION_ACCURACY)

    made = list(library["recommendations"].find({"createdAt": {"$gte": STOP - MONTH, "$lt": STOP}}))
    plays = list(library["listening_history"].find())
    ranks = []
    hits = 0
    by_list = sorted(made, key=lambda one: (one["userId"], one["createdAt"].date(), -one["score"]))
    for _, group in groupby(by_list, key=lambda one: (one["userId"], one["createdAt"].date())):
        good = [rank for rank, one in enumerate(group, start=1) if is_hit(one, plays)]
        hits += len(good)
        ranks.append(good[0] if good else None)
    assert found["lists"] == len(ranks)
    assert found["recommended"] == len(made)
    assert found["hits"] == hits
    for cut in (1, 5, 10):
        rate = sum(rank is not None and rank <= cut for rank in ranks) / len(ranks)
        assert found[f"hitRateAt{cut}"] == pytest.approx(rate, abs=0.0001)
    assert found["meanReciprocalRank"] == pytest.approx(
        sum(1 / rank for rank in ranks if rank) / len(ranks), abs=0.0001
    )
    assert len(found["recommendations"]) == 50
    assert found["recommendations"][0]["createdAt"] == max(one["createdAt"] for one in made).isoformat()
    for one in found["recommendations"]:
        assert one["isHit"] == is_hit({**one, "createdAt": datetime.fromisoformat(one["createdAt"])}, plays)


def is_hit(made: Json, plays: list[Json]) -> bool:
    return any(
        made["createdAt"] < play["playedAt"] <= made["createdAt"] + timedelta(days=7)
        for play in plays
        if (play["userId"], play["trackId"]) == (made["userId"], made["trackId"])
    )


def test_batches_of_one_day_are_lists_of_their_own_and_a_good_rating_is_a_hit(db: Db) -> None:
    made = STOP - timedelta(days=3)
    db["recommendations"].insert_many(
        [
            {"userId": "ada", name: f"{job}{n}", "score": 1 - n / 10, "jobId": job, "createdAt": made}
            for job, name in (("one", "itemId"), ("two", "trackId"))
            for n in range(4)
        ]
    )
    moment = made + timedelta(days=1)
    ratings = [("one2", 7, moment), ("one0", 6.5, moment), ("two1", 10, made - timedelta(1)), ("two3", None, moment)]
    db["ratings"].insert_many(
        [{"userId": "ada", "itemId": item, "score": score, "updatedAt": at} for item, score, at in ratings]
    )
    db["ratings"].insert_one({"userId": "bob", "itemId": "two0", "score": 10, "updatedAt": moment})

    found = asked(db, Analysis.RECOMMENDATION_ACCURACY)

    assert (found["lists"], found["recommended"], found["hits"]) == (2, 8, 1)
    assert (found["hitRateAt1"], found["hitRateAt5"]) == (0.0, 0.5)
    assert found["meanReciprocalRank"] == pytest.approx(1 / 3 / 2, abs=0.0001)
    (hit,) = [one for one in found["recommendations"] if one["isHit"]]
    assert (hit["trackId"], hit["rank"], hit["hitAt"]) == ("one2", 3, moment.isoformat())


@pytest.mark.parametrize("analysis", list(Analysis))
@pytest.mark.parametrize("timeframe", ["1d", "all"])
def test_an_empty_library_is_analysed_like_any_other(db: Db, analysis: Analysis, timeframe: str) -> None:
    found = asked(db, analysis, timeframe)

    assert (found["comparison"] is None) == (timeframe == "all")


# Over HTTP


@pytest.fixture
def recent(db: Db) -> Db:
    """A library with plays of these days."""
    db["listening_history"].insert_many(
        [{"userId": "ada", "trackId": f"t{n % 5}", "playedAt": now() - timedelta(hours=n)} for n in range(100)]
    )
    moments = {"createdAt": now(), "updatedAt": now()}
    values = {"energy": 0.81234, "valence": 0.9, "danceability": 0.5, "tempo": 121.26}
    db["audio_features"].insert_many([{"userId": "ada", "trackId": f"t{n}", **values, **moments} for n in range(5)])
    return db


@pytest.mark.parametrize("analysis", list(Analysis))
def test_a_small_library_is_analysed_at_once(api: httpx.Client, recent: Db, analysis: Analysis) -> None:
    answer = api.get(f"/api/database/analytics/{analysis.value}", params={"timeframe": "7d", "granularity": "day"})

    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] is True
    assert body["type"] == analysis.value
    assert body["metadata"]["timeframe"] == "7d"
    assert body["metadata"]["granularity"] == "day"
    assert body["metadata"]["userId"] is None
    assert "comparison" in body["analytics"]


@pytest.mark.parametrize(
    ("path", "query", "known"),
    [
        ("/api/database/analytics/dreams", {}, "mood-analysis"),
        ("/api/database/analytics/mood-analysis", {"timeframe": "2y"}, "365d"),
        ("/api/database/analytics/mood-analysis", {"timeframe": "366d"}, "365d"),
        ("/api/database/analytics/mood-analysis", {"timeframe": "0d"}, "365d"),
        ("/api/database/analytics/mood-analysis", {"granularity": "minute"}, "week"),
        ("/api/database/analytics/mood-analysis", {"granularity": "hour", "timeframe": "all"}, "90d"),
        ("/api/database/insights", {"timeframe": "soon"}, "365d"),
    ],
)
def test_what_is_not_offered_is_answered_with_what_there_is(
    api: httpx.Client, path: str, query: dict[str, str], known: str
) -> None:
    problem = problem_of(api.get(path, params=query), 400, "not_offered")
    assert known in problem["detail"]
    assert problem["success"] is False
    assert problem["errors"] == [{"field": "request", "message": problem["detail"]}]


def test_a_library_at_a_glance(api: httpx.Client, recent: Db) -> None:
    body = api.get("/api/database/insights", params={"timeframe": "30d"}).json()

    assert body["insights"]["audioFeatures"] == {
        "uniqueUsers": 1,
        "totalTracks": 5,
        "audioProfile": {"danceability": 0.5, "energy": 0.812, "valence": 0.9, "tempo": 121.3},
    }
    assert body["insights"]["system"]["documents"]["listening_history"] == 100
    assert body["analytics"]["listening"] == {"plays": 100, "listeners": 1, "tracks": 5}
    assert sum(body["listeningPatterns"]["byHour"]) == 100
    without = api.get("/api/database/insights", params={"includePatterns": "false"}).json()
    assert without["listeningPatterns"] is None


def test_the_databases_figures(api: httpx.Client, recent: Db) -> None:
    body = api.get("/api/database/stats").json()

    assert body["health"]["status"] == "healthy"
    assert body["metrics"]["listening_history"]["documents"] == 100
    assert body["metrics"]["listening_history"]["sizeBytes"] > 0
    assert body["connections"]["current"] > 0


def test_what_a_users_tracks_are_like(api: httpx.Client, recent: Db) -> None:
    body = api.get("/api/spotify/audio-features/analysis/ada").json()
    nobody = api.get("/api/spotify/audio-features/analysis/nobody").json()

    assert body["totalTracks"] == 5
    assert body["analysis"]["mood"] == {"dominant": "party", "distribution": {"party": 1.0}}
    assert body["analysis"]["energy"] == {"average": 0.812, "distribution": {"high": 1.0}}
    assert sum(body["analysis"]["listening_patterns"]["byHour"]) == 100
    assert body["analysis"]["genre_classification"] == {"primary": None, "tracks": {}}
    assert nobody["analysis"] is None
    assert nobody["totalTracks"] == 0
    assert nobody["message"]


@pytest.fixture
def busy(settings: Settings, db: Db) -> Iterator[httpx.Client]:
    """An API for which every library is a large one."""
    with serving(settings.model_copy(update={"analytics_inline_documents": 0})) as client:
        yield client


def test_a_large_library_is_analysed_by_a_job_whose_answer_is_kept(
    busy: httpx.Client, recent: Db, settings: Settings
) -> None:
    path = "/api/database/analytics/listening-trends"
    first = busy.get(path)
    again = busy.get(path)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"], "the same question is one job"
    with engine_on(recent, settings) as engine:
        assert engine.drive(first.json()["id"]).status == "succeeded"

    kept = busy.get(path)
    assert kept.status_code == 200
    assert kept.json()["analytics"]["totals"]["plays"] == 100
    items = busy.get(f"/api/jobs/{first.json()['id']}/items").json()["items"]
    assert items[0]["result"]["analytics"]["totals"]["plays"] == 100

    recent["listening_history"].insert_one({"userId": "ada", "trackId": "t", "playedAt": now()})
    changed = busy.get(path)
    assert changed.status_code == 202, "what is kept is not what there is any more"
    assert changed.json()["id"] != first.json()["id"]


def test_analyses_want_the_scope_of_the_database_and_see_ones_own(api: httpx.Client, recent: Db) -> None:
    with client_of(give_key(recent, "local", scopes=(Scope.JOBS_READ,)), api.base_url) as reader:
        for path in ("insights", "stats", "analytics/mood-analysis"):
            problem_of(reader.get(f"/api/database/{path}"), 403, "not_allowed")
    with client_of(give_key(recent, "beta"), api.base_url) as other:
        assert other.get("/api/database/insights").json()["insights"]["audioFeatures"]["totalTracks"] == 0
        assert other.get("/api/spotify/audio-features/analysis/ada").json()["totalTracks"] == 0


def test_the_present_hour_belongs_to_a_timeframe() -> None:
    assert next_hour(datetime(2026, 11, 21, 12, 59, tzinfo=UTC)) == STOP
