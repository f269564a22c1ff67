"""The routes that say what a library is like: at once where that is quick, else by a job whose answer is kept."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ConfigDict, Field

from api.access.visit import Keeper, Reader
from api.documents import Job, job_document, job_path
from api.jobs import submit, wait_seconds
from api.problems import Problem
from api.services import InjectedDb, InjectedServices, Services
from shared import insights
from shared.access import Principal
from shared.analytics import READS, analyse, checked_analysis
from shared.clock import now
from shared.jobs import analytics as kind
from shared.jobs.analytics import analysis_id, marker_of, question_of
from shared.model import Body, Db, Json
from shared.periods import checked_granularity, checked_timeframe, next_hour, period_of
from shared.store import analyses
from shared.store.database import library
from shared.store.job_record import JobRecord

router = APIRouter(tags=["database"])

Timeframe = Annotated[
    str, Query(max_length=20, description="1d to 365d, or all (since 1970); to the end of the present hour")
]
UserId = Annotated[str | None, Query(alias="userId", min_length=1, max_length=256, description="Only this user's")]
NOT_OFFERED: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "There is no such choice: the problem lists those that there are"}
}


class Insights(Body):
    """A library at a glance."""

    success: bool = True
    insights: Json = Field(description="`audioFeatures` {uniqueUsers, totalTracks, audioProfile}, `system` {documents}")
    analytics: Json = Field(description="`listening` {plays, listeners, tracks} and its `comparison`")
    listening_patterns: Json | None = Field(description="byHour (0 to 23), byWeekday (Monday first), and their peaks")
    timestamp: datetime


class Stats(Body):
    """How the database answers, and how large it is."""

    success: bool = True
    health: Json = Field(description="status, and milliseconds of a round trip")
    metrics: Json = Field(description="By collection: documents, sizeBytes, averageBytes, indexes, indexBytes")
    connections: Json | None = Field(description="Of the server; null where it does not tell")
    timestamp: datetime


class Metadata(Body):
    """What was asked."""

    user_id: str | None
    timeframe: str
    granularity: str
    generated_at: datetime
    job_id: str | None = Field(default=None, description="The job that answered, for what took longer")


class Analytics(Body):
    """An analysis of a library."""

    success: bool = True
    type: str
    analytics: Json
    metadata: Metadata


_USER_EXAMPLE: Json = {
    "success": True,
    "analysis": {
        "mood": {"dominant": "party", "distribution": {"balanced": 0.25, "party": 0.75}},
        "energy": {"average": 0.71, "distribution": {"high": 0.75, "medium": 0.25}},
        "genre_classification": {"primary": "rock", "tracks": {"rock": 12, "pop": 4}},
        "listening_patterns": {"byHour": [0] * 24, "byWeekday": [0] * 7, "peakHour": 0, "peakWeekday": 1},
    },
    "totalTracks": 16,
    "lastUpdated": "2026-11-21T12:00:00Z",
}


class UserAnalysis(Body):
    """What a user's tracks are like."""

    model_config = ConfigDict(json_schema_extra={"examples": [_USER_EXAMPLE]})

    success: bool = True
    analysis: Json | None = Field(description="mood, energy, genre_classification, listening_patterns")
    total_tracks: int
    last_updated: datetime | None
    message: str | None = None


@router.get("/api/database/insights", summary="A library at a glance", response_model=Insights, responses=NOT_OFFERED)
def read_insights(
    who: Keeper,
    db: InjectedDb,
    timeframe: Timeframe = "30d",
    include_patterns: Annotated[
        bool, Query(alias="includePatterns", description="Also when is listened, by hour and weekday")
    ] = True,
) -> Insights:
    """Features that came in the timeframe (`createdAt`) and what was played in it (`playedAt`), with a comparison.

    The audio profile is the mean over those tracks: three decimals, tempo one. `system.documents` is the server's
    count of each collection. Moments are UTC.
    """
    moment = now()
    period = period_of(checked_timeframe(timeframe), next_hour(moment))
    found = insights.insights(library(db, who.owner), period, with_patterns=include_patterns)
    return Insights(**found, timestamp=moment)


@router.get("/api/database/stats", summary="The database's figures", response_model=Stats)
def read_stats(who: Keeper, db: InjectedDb) -> Stats:
    """How quickly the database answers, the sizes of your library's collections, the server's connections."""
    return Stats(**insights.stats(library(db, who.owner)), timestamp=now())


DEFINITIONS = """An analysis of your library over a timeframe, in steps (UTC; weeks begin on Monday), beside the period
of the same length before (`comparison`: current, previous, change, changePercent; null for `all`).

- `listening-trends`: plays, distinct listeners and tracks; a series without gaps; the ten most played tracks; plays by
  hour and weekday; a forecast of the next 24 hours, 7 days, 4 weeks or 3 months by seasonal naive (season: 24 hours, 7
  days, 4 weeks, 12 months) or linear trend (least squares), whichever has the smaller mean absolute error on as many
  steps held out. The first and the last step, which may not be whole, are left out of it.
- `mood-analysis`: each play counts with its track's valence and energy. party: both above 0.7; melancholic: both below
  0.4; intense: energy above 0.6, valence below 0.4; calm: energy below 0.5, valence above 0.6; else balanced; unknown
  without both (numbers from 0 to 1). Quadrants meet at 0.5: happy, tense, relaxed, sad.
- `genre-distribution`: each play is shared equally among its track's genres: `genres` of its features, else the tags
  that are genres and are heard with at least 0.2; unknown without any. `effectiveGenres` is exp(Shannon's entropy).
- `recommendation-accuracy`: a list is a batch that a job made for a user, or what a user was recommended on a day by
  documents without `jobId`, the highest score first; a hit is what the user played, or rated with at least 7 of 10
  (`updatedAt`), within 7 days after. hitRateAtK: share of lists with a hit among the first K; precisionAt10: hits
  among the first ten of all lists, divided by their number; meanReciprocalRank: mean of 1 / rank of a list's first hit,
  0 without. Lists younger than 7 days count with the hits so far.

A library of more documents than the server counts at once is analysed by a job (202, or wait with `Prefer: wait=N`);
its answer is kept until documents are added or removed, or their moments change, and for the present hour."""


@router.get(
    "/api/database/analytics/{type}",
    name="read_analytics",
    summary="Analyse a library",
    description=DEFINITIONS,
    response_model=Analytics,
    responses={**NOT_OFFERED, 202: {"model": Job, "description": "It takes longer: the job that answers"}},
)
async def read_analytics(
    who: Keeper,
    services: InjectedServices,
    request: Request,
    response: Response,
    type_: Annotated[
        str,
        Path(
            alias="type",
            max_length=40,
            description="listening-trends, mood-analysis, genre-distribution or recommendation-accuracy",
        ),
    ],
    timeframe: Timeframe = "30d",
    granularity: Annotated[str, Query(max_length=20, description="hour (up to 90d), day, week or month")] = "day",
    user_id: UserId = None,
) -> Any:
    """Answer at once, or with the job that will."""
    wanted = request_of(type_, timeframe, granularity, user_id)
    found = await answer(services, who, wanted, wait_seconds(request.headers.getlist("prefer")))
    if isinstance(found, Analytics):
        return found
    response.headers["Location"] = job_path(found.id)
    return Response(job_document(found).model_dump_json(by_alias=True), 202, response.headers, "application/json")


def request_of(type_: str, timeframe: str, granularity: str, user_id: str | None) -> kind.Request:
    """Return the question, up to the end of the present hour. Raises `NotOffered`."""
    return kind.Request(
        type=checked_analysis(type_),
        timeframe=checked_timeframe(timeframe),
        granularity=checked_granularity(granularity, timeframe),
        only_user=user_id,
        until=next_hour(now()),
    )


async def answer(services: Services, who: Principal, wanted: kind.Request, wait: int) -> Analytics | JobRecord:
    """Return an analysis, or the job that is at it after up to `wait` seconds."""
    db = services.connection.db
    own = library(db, who.owner)
    inline = services.settings.analytics_inline_documents
    at_once = await to_thread.run_sync(_at_once, own, wanted, inline)
    if at_once is not None:
        return at_once
    marker = await to_thread.run_sync(marker_of, own, wanted)
    job = await _job_for(services, who, own, wanted, marker)
    if wait and not job.status.is_final:
        job = await services.watcher.wait_for_end(job, wait)
    kept = await to_thread.run_sync(_kept, own, wanted, marker, job.id) if job.status.is_final else None
    return kept or job


def _at_once(own: Db, wanted: kind.Request, inline: int) -> Analytics | None:
    """Return the answer where it is kept or quickly counted."""
    if sum(own[name].estimated_document_count() for name in READS[wanted.type]) <= inline:
        assert wanted.until is not None
        return _answer(wanted, analyse(own, question_of(wanted, wanted.until)), now())
    return _kept(own, wanted, marker_of(own, wanted), None)


def _kept(own: Db, wanted: kind.Request, marker: str, job_id: str | None) -> Analytics | None:
    assert wanted.until is not None
    found = analyses.find(own, analysis_id(wanted, wanted.until))
    # The answer to whoever waited for it is theirs, whatever came in meanwhile.
    if found is None or (found.marker != marker and job_id is None):
        return None
    return _answer(wanted, found.body, found.created_at, job_id)


def _answer(wanted: kind.Request, body: Json, moment: datetime, job_id: str | None = None) -> Analytics:
    metadata = Metadata(
        user_id=wanted.only_user,
        timeframe=wanted.timeframe,
        granularity=wanted.granularity.value,
        generated_at=moment,
        job_id=job_id,
    )
    return Analytics(type=wanted.type.value, analytics=body, metadata=metadata)


async def _job_for(services: Services, who: Principal, own: Db, wanted: kind.Request, marker: str) -> JobRecord:
    """Return the one job that answers a question on documents as they are now, however often it is asked."""
    assert wanted.until is not None
    state = hashlib.sha256(marker.encode()).hexdigest()[:16]
    key = f"{analysis_id(wanted, wanted.until)}:{state}"
    job, _ = await submit(services, who, kind.KIND, wanted, key)
    if job.status.is_final and await to_thread.run_sync(_kept, own, wanted, marker, None) is None:
        job, _ = await submit(services, who, kind.KIND, wanted, None)
    return job


@router.get(
    "/api/spotify/audio-features/analysis/{user_id}",
    summary="What a user's tracks are like",
    response_model=UserAnalysis,
)
def analyse_user(
    who: Reader, db: InjectedDb, user_id: Annotated[str, Path(min_length=1, max_length=256, description="Whose tracks")]
) -> UserAnalysis:
    """Mood, energy, genres and listening of a user, over their newest 10,000 tracks; `analysis` is null without any.

    Moods and genres are those of `/api/database/analytics`; energy is low below 0.4 and high above 0.7.
    """
    found = insights.analysis_of_user(library(db, who.owner), user_id, next_hour(now()))
    message = "There are no features of this user's tracks yet." if found["analysis"] is None else None
    return UserAnalysis(**found, message=message)
