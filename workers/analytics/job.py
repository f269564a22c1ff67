"""The work of the job kind `analytics`: a question that MongoDB is given an hour to answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.analytics import analyse
from shared.items import ItemOutcome, succeeded
from shared.jobs.analytics import Item, Request, Result, analysis_id, marker_of, question_of
from shared.jobs.job import JobContext
from shared.store import analyses
from shared.store.database import connect, library

ANSWER_SECONDS = 3500.0


def answer(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each question's outcome: its answer is kept."""
    db = connect(context.settings, timeout_seconds=ANSWER_SECONDS, app_name="backline-analytics")
    with db.client:
        patient = library(db, context.owner)
        for item in items:
            key = analysis_id(request, item.until)
            # The marker first: what comes in meanwhile makes the answer an old one, and never the other way round.
            marker = marker_of(patient, request)
            analyses.save(patient, key, marker, analyse(patient, question_of(request, item.until)))
            yield succeeded(Result(analysis_id=key))
