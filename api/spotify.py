"""The route by which EchoTune asks for the features of many tracks: its own call, under its own names."""

from __future__ import annotations

import math
from datetime import timedelta
from time import perf_counter
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, StringConstraints

from api.access.visit import Writer
from api.documents import JobLinks, job_document, job_path
from api.jobs import SUBMIT_HEADERS, submit, wait_seconds
from api.services import InjectedServices, Services
from shared.clock import now
from shared.jobs import get_kind
from shared.jobs import track_features as kind
from shared.ladder import known_values
from shared.model import Body, Json
from shared.providers import FIELDS
from shared.store import audio_features
from shared.store.clients import moment_of
from shared.store.database import library
from shared.store.job_record import JobRecord, JobStatus

IDS_MAX = 500
BATCH_SIZE = 100
SETTLED = timedelta(days=1)
"""What nobody could say of a track is not asked for again in this time."""

router = APIRouter(prefix="/api/spotify", tags=["providers"])


class BatchOptions(Body):
    """How EchoTune would have it done; providers' own limits decide how many tracks a call asks for."""

    model_config = ConfigDict(extra="ignore")

    batch_size: int = Field(default=BATCH_SIZE, ge=1, le=IDS_MAX)


class Batch(Body):
    """Tracks of a user whose features are wanted."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"trackIds": ["4uLU6hMCjMI75M1A2tKUQC"], "userId": "ada"}]}
    )

    track_ids: tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...] = Field(
        min_length=1, max_length=IDS_MAX
    )
    user_id: str = Field(min_length=1, max_length=256)
    options: BatchOptions = BatchOptions()


class BatchAccepted(Body):
    """The job that finds them."""

    success: bool = True
    job_id: str
    status: JobStatus
    links: JobLinks


class BatchResult(Body):
    """What came of it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "processed": 1,
                    "failed": 0,
                    "batches": 1,
                    "summary": {"libraryTracks": 1, "libraryAverages": {"tempo": 113.3}},
                    "processingTime": 12,
                    "jobId": "job_019a",
                }
            ]
        }
    )

    success: bool = Field(description="Whether features were found for any of the tracks")
    processed: int = Field(description="Tracks with features")
    failed: int = Field(description="Tracks of which nobody knows anything; the job's items say why")
    batches: int
    summary: Json | None = Field(description="What the user's whole library holds now")
    processing_time: int = Field(description="Milliseconds")
    job_id: str | None = Field(description="Null where everything was known, and no job was needed")


@router.post(
    "/audio-features/batch",
    name="batch_audio_features",
    summary="Find the features of up to 500 tracks",
    status_code=202,
    response_model=BatchAccepted,
    responses={200: {"model": BatchResult, "description": "Done within the time of `Prefer: wait`"}},
    openapi_extra={"parameters": SUBMIT_HEADERS[1:]},
)
async def batch_audio_features(
    who: Writer, services: InjectedServices, request: Request, response: Response, body: Batch
) -> Any:
    """Submit a job `track_features`. With `Prefer: wait`, what is stored already is told at once, without a job."""
    started = perf_counter()
    seconds = wait_seconds(request.headers.getlist("prefer"))
    if seconds:
        response.headers["Preference-Applied"] = f"wait={seconds}"
        known = await to_thread.run_sync(_stored, services, who.owner, body)
        if known is not None:
            ids = len(set(body.track_ids))
            result = _result(body, started, processed=ids, failed=0, summary=known, job_id=None)
            return _done(result, response)
    wanted = kind.Request(user_id=body.user_id, track_ids=body.track_ids)
    job, _ = await submit(services, who, get_kind(kind.KIND.name), wanted, None)
    response.headers["Location"] = job_path(job.id)
    if seconds:
        job = await services.watcher.wait_for_end(job, seconds)
        if job.status.is_final:
            return _done(_job_result(body, started, job), response)
    return BatchAccepted(job_id=job.id, status=job.status, links=job_document(job).links)


def _done(result: BatchResult, response: Response) -> JSONResponse:
    """Return a result in place of what is answered while the job is at work."""
    return JSONResponse(result.to_json(), headers=dict(response.headers))


def _stored(services: Services, owner: str, body: Batch) -> Json | None:
    """Return the user's summary where all that can be said of the tracks is stored; else None."""
    own, ids = library(services.connection.db, owner), set(body.track_ids)
    found = audio_features.find_states(own, body.user_id, list(ids))
    if len(found) < len(ids) or not all(_is_settled(track) for track in found):
        return None
    summary = audio_features.touch_user(own, body.user_id)
    if summary is None:
        return None
    return kind.Summary(library_tracks=summary["tracks"], library_averages=summary["averages"]).to_json()


def _is_settled(track: Json) -> bool:
    if len(known_values(track)) == len(FIELDS):
        return True
    changed_at = moment_of(track.get("updatedAt"))  # clients write such documents, too
    return changed_at is not None and changed_at > now() - SETTLED


def _job_result(body: Batch, started: float, job: JobRecord) -> BatchResult:
    progress = job.progress
    return _result(
        body,
        started,
        processed=progress.succeeded + progress.cached,
        failed=progress.failed + progress.cancelled,
        summary=job.summary,
        job_id=job.id,
    )


def _result(
    body: Batch, started: float, *, processed: int, failed: int, summary: Json | None, job_id: str | None
) -> BatchResult:
    return BatchResult(
        success=processed > 0,
        processed=processed,
        failed=failed,
        batches=math.ceil(len(set(body.track_ids)) / body.options.batch_size),
        summary=summary,
        processing_time=round((perf_counter() - started) * 1000),
        job_id=job_id,
    )
