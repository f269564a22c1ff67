"""A job's progress as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api.access.visit import Reader
from api.documents import JOB_EXAMPLE, job_document
from api.jobs import NOT_FOUND, JobId
from api.services import InjectedServices
from api.watch import Watcher
from shared.errors import JobNotFound
from shared.store import jobs
from shared.store.job_record import JobRecord

KEEP_ALIVE_SECONDS = 15.0
RECONNECT_MILLISECONDS = 2000

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


def event_id(job: JobRecord) -> str:
    """Return the id of the event that shows this state of the job."""
    return f"{job.epoch}.{job.revision}"


def _event(job: JobRecord) -> bytes:
    name = "end" if job.status.is_final else "progress"
    data = job_document(job).model_dump_json(by_alias=True)
    return format_sse_event(data_str=data, event=name, id=event_id(job))


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={
        **NOT_FOUND,
        200: {
            "description": "A stream of events whose data is the job document",
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "examples": {"progress": {"value": f"event: progress\nid: 0.7\ndata: {JOB_EXAMPLE}\n\n"}},
                }
            },
        },
        204: {"description": "The job has ended, and `Last-Event-ID` says that the end was seen"},
    },
)
async def follow_job(
    who: Reader,
    services: InjectedServices,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="The id of the last event that was seen")
    ] = None,
) -> Response:
    """Server-sent events `progress`, and `end` with the final document, after which the stream closes.

    The id of an event is `{epoch}.{revision}`. A reader that comes back with `Last-Event-ID` does not get the same
    state again; one that has seen the end gets 204, so that a browser's EventSource stops.
    """
    job = await to_thread.run_sync(jobs.get_owned, services.connection.db, who.owner, job_id)
    if job.status.is_final and last_event_id == event_id(job):
        return Response(status_code=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the second is for nginx
    stream = _stream(services.watcher, job, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(watcher: Watcher, job: JobRecord, last_event_id: str | None) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MILLISECONDS)
    with watcher.watch(job) as watch:
        if event_id(job) != last_event_id:
            yield _event(job)
        while not job.status.is_final:
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    job = await watch.change()
            except TimeoutError:
                yield KEEPALIVE_COMMENT
            except JobNotFound:
                return
            else:
                yield _event(job)
