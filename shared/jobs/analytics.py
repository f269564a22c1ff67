"""The job kind `analytics`: an analysis of a library that is too large to be answered at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from shared.access import Scope
from shared.analytics import READS, Analysis, Question
from shared.broker import Queue
from shared.clock import now
from shared.errors import BacklineError
from shared.items import ItemStatus
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor, Db, Json
from shared.periods import Granularity, checked_granularity, checked_timeframe, next_hour, period_of
from shared.store import analyses

HOUR = 3600.0


def _offered(text: str) -> str:
    try:
        return checked_timeframe(text)
    except BacklineError as error:
        raise ValueError(error.message) from None


class Request(JobRequest):
    """What to analyse."""

    type: Analysis = Field(description="Which analysis")
    timeframe: Annotated[str, AfterValidator(_offered)] = Field(default="30d", description="1d to 365d, or all")
    granularity: Granularity = Field(default=Granularity.DAY, description="The length of a step of the series")
    only_user: str | None = Field(
        default=None, min_length=1, max_length=256, description="Only this user of yours; else all of them"
    )
    until: datetime | None = Field(default=None, description="Where the timeframe ends; else with the present hour")

    @model_validator(mode="after")
    def _fits_together(self) -> Request:
        try:
            checked_granularity(self.granularity.value, self.timeframe)
        except BacklineError as error:
            raise ValueError(error.message) from None
        return self


class Item(Body):
    """The whole question, for the documents are counted in one go."""

    until: datetime


class Result(Body):
    """Where the answer stands."""

    analysis_id: str


class Summary(Body):
    """What was analysed; the answer is the result of the one item."""

    type: Analysis
    timeframe: str
    granularity: Granularity
    analysis_id: str | None


def question_of(request: Request, until: datetime) -> Question:
    """Return what a request asks, up to a moment."""
    return Question(
        analysis=request.type,
        period=period_of(request.timeframe, until),
        granularity=request.granularity,
        user_id=request.only_user,
    )


def analysis_id(request: Request, until: datetime) -> str:
    """Return the id under which the answer to a question is kept."""
    parts = [request.type.value, request.timeframe, request.granularity.value, request.only_user, until.isoformat()]
    return f"analysis_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}"


def marker_of(library: Db, request: Request) -> str:
    """Return what is different once the documents are that the answer counts."""
    return analyses.marker(library, READS[request.type])


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the one question."""
    if cursor is None:
        yield Planned(item=Item(until=request.until or next_hour(now())), cursor={"done": True})


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Nothing to merge: the answer is kept where it was counted."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Say what was analysed."""
    has_answer = any(counts[status] for status in ItemStatus if status.is_good)
    found = analysis_id(request, request.until) if request.until and has_answer else None
    return Summary(type=request.type, timeframe=request.timeframe, granularity=request.granularity, analysis_id=found)


def present(results: Sequence[Json], context: JobContext) -> list[Json]:
    """Show the answer in place of the reference to it, as long as it is kept."""
    return [_presented(result, context.library) for result in results]


def _presented(result: Json, library: Db) -> Json:
    found = analyses.find(library, result["analysisId"])
    return result if found is None else {**result, "analytics": found.body}


KIND = JobKind(
    name="analytics",
    title="Analyse a library",
    description=(
        "Analyse listening trends, moods, genres or the accuracy of recommendations over a timeframe, as a job. Use it"
        " for large libraries; the answer is the result of the job's one item."
    ),
    queue=Queue.BULK,
    scope=Scope.DATABASE,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.analytics.job:answer",
    merge=merge,
    summarise=summarise,
    present=present,
    item_seconds=10.0,
    item_seconds_max=HOUR,
    chunk_items_max=1,
    examples=({"type": "listening-trends", "timeframe": "365d", "granularity": "week"},),
)
