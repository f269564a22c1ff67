"""The bodies of the answers, built from the records; nothing of a record goes out unless it is named here."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from pydantic import ConfigDict, Field

from api.pace import eta_seconds, items_per_second
from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs.job import JobKind
from shared.model import Body, Json
from shared.store.job_record import JobRecord, JobStatus
from shared.store.outcomes import StoredItem
from shared.store.schedules import Schedule


class JobProgress(Body):
    """How far a job is; exact once it has ended."""

    total: int = Field(description="Items known so far")
    total_is_exact: bool = Field(description="Whether `total` is the whole job")
    succeeded: int
    cached: int = Field(description="Items that were known already")
    failed: int
    cancelled: int
    done: int = Field(description="Items that were worked on or known already: all but the cancelled ones")
    busy_seconds: float = Field(description="Work, summed over the worker processes")
    items_per_second: float | None = Field(description="Mean since the start; null before it and after a retry")
    eta_seconds: float | None = Field(
        description="By the pace of the last seconds; null while that or the total is not known"
    )


class JobProblem(Body):
    """Why a job could not do its work, or all of it."""

    code: str
    message: str


class JobLinks(Body):
    """Where to go on from a job."""

    self_: str = Field(alias="self")
    items: str
    events: str
    cancel: str
    retry: str


_PROGRESS_EXAMPLE: Json = {
    "total": 1200,
    "totalIsExact": True,
    "succeeded": 300,
    "cached": 100,
    "failed": 2,
    "cancelled": 0,
    "done": 402,
    "busySeconds": 181.3,
    "itemsPerSecond": 4.1,
    "etaSeconds": 194.6,
}

_LINKS_EXAMPLE: Json = {
    "self": "/api/jobs/job_019a",
    "items": "/api/jobs/job_019a/items",
    "events": "/api/jobs/job_019a/events",
    "cancel": "/api/jobs/job_019a/cancel",
    "retry": "/api/jobs/job_019a/retry",
}

JOB_EXAMPLE: Json = {
    "id": "job_019a",
    "kind": "audio_features",
    "owner": "local",
    "userId": "ada",
    "status": "running",
    "epoch": 0,
    "progress": _PROGRESS_EXAMPLE,
    "summary": None,
    "error": None,
    "cancelRequestedAt": None,
    "resumesAt": None,
    "schedule": None,
    "followedBy": None,
    "createdAt": "2026-11-21T12:00:00Z",
    "updatedAt": "2026-11-21T12:01:38Z",
    "startedAt": "2026-11-21T12:00:00.040000Z",
    "finishedAt": None,
    "links": _LINKS_EXAMPLE,
}


class Job(Body):
    """A job and how far it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [JOB_EXAMPLE]})

    id: str
    kind: str
    owner: str = Field(description="Whose key submitted it; nobody else sees it")
    user_id: str = Field(description="The userId of the request")
    status: JobStatus
    epoch: int = Field(description="0 at first; each retry adds one")
    progress: JobProgress
    summary: Json | None = Field(description="What the whole job yielded, in the form of its kind")
    error: JobProblem | None
    cancel_requested_at: datetime | None
    resumes_at: datetime | None = Field(description="When a job goes on that waits for an outside budget")
    schedule: str | None = Field(description="The schedule that submitted it")
    followed_by: str | None = Field(description="The job that was submitted when this one had ended, to go on from it")
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: JobLinks


class JobWithRequest(Job):
    """A job with the request that it was submitted with."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [JOB_EXAMPLE | {"request": {"userId": "ada", "paths": ["/music/albums"]}}]}
    )

    request: Json = Field(description="What was asked for, without the fields that have their defaults")


class JobPage(Body):
    """Some jobs, newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None = Field(description="Give it as `after` to get the next page; null on the last")


class ItemProblem(Body):
    """Why an item failed."""

    code: str
    message: str


class JobItem(Body):
    """One item of a job and what became of it."""

    index: int = Field(description="Its place in the whole job")
    item: Json
    status: ItemStatus
    result: Json | None
    error: ItemProblem | None


class ItemPage(Body):
    """Some items of a job, in the order of its plan."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "index": 0,
                            "item": {"path": "/music/a.mp3", "trackId": None},
                            "status": "failed",
                            "result": None,
                            "error": {"code": "not_found", "message": "There is no file /music/a.mp3."},
                        }
                    ],
                    "nextCursor": "0.1.0",
                    "jobStatus": "running",
                }
            ]
        }
    )

    items: tuple[JobItem, ...]
    next_cursor: str | None = Field(
        description="Give it as `after` to go on; with a running job also behind an empty page, a little later."
        " Null once the job has ended and all was read"
    )
    job_status: JobStatus


class Kind(Body):
    """A kind of job that can be submitted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "audio_features",
                    "title": "Extract audio features",
                    "description": "Analyse audio files on the workers' disks.",
                    "queue": "cpu",
                    "submit": "/api/jobs/audio_features",
                    "requestSchema": {"type": "object", "properties": {"userId": {"type": "string"}}},
                    "itemSchema": {"type": "object"},
                    "resultSchema": {"type": "object"},
                    "summarySchema": {"type": "object"},
                    "examples": [{"userId": "ada", "paths": ["/music/albums"]}],
                }
            ]
        }
    )

    name: str
    title: str
    description: str
    queue: Queue = Field(description="Where its chunks run")
    submit: str = Field(description="Where to POST a request")
    request_schema: Json = Field(description="JSON Schema of the request")
    item_schema: Json = Field(description="JSON Schema of `item` in the list of items")
    result_schema: Json = Field(description="JSON Schema of an item's result as the workers report it")
    summary_schema: Json = Field(description="JSON Schema of the job's summary")
    examples: tuple[Json, ...] = Field(description="Requests that are valid")


class KindList(Body):
    """Every kind of job."""

    kinds: tuple[Kind, ...]


class ScheduleProblem(Body):
    """Why the slot that was due last has no job, or why there is no next one."""

    code: str
    message: str


class ScheduleLinks(Body):
    """Where to go on from a schedule."""

    self_: str = Field(alias="self")
    last_job: str | None


class ScheduleDocument(Body):
    """A job request and when it is submitted."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly",
                    "owner": "local",
                    "userId": "ada",
                    "kind": "audio_features",
                    "request": {"userId": "ada", "paths": ["/music"]},
                    "cron": "0 2 * * *",
                    "everySeconds": None,
                    "timezone": "Europe/Berlin",
                    "paused": False,
                    "nextAt": "2026-11-22T01:00:00Z",
                    "lastSlot": None,
                    "lastJobId": None,
                    "lastError": None,
                    "createdAt": "2026-11-21T12:00:00Z",
                    "updatedAt": "2026-11-21T12:00:00Z",
                    "links": {"self": "/api/schedules/nightly", "lastJob": None},
                }
            ]
        },
    )

    name: str
    owner: str = Field(description="Whose key created it; nobody else sees it")
    user_id: str = Field(description="The userId of the request")
    kind: str
    request: Json
    cron: str | None
    every_seconds: float | None
    timezone: str
    paused: bool
    next_at: datetime = Field(description="When it is due next, if it is not paused then")
    last_slot: datetime | None = Field(description="The time that it was last due at")
    last_job_id: str | None = Field(description="The job of the last slot that has one")
    last_error: ScheduleProblem | None = Field(
        description="Why the last slot has no job, or why the schedule paused itself; null once a slot went well"
    )
    created_at: datetime
    updated_at: datetime
    links: ScheduleLinks


class ScheduleList(Body):
    """Every schedule, by name."""

    schedules: tuple[ScheduleDocument, ...]


def job_path(job_id: str) -> str:
    """Return the path under which a job is found."""
    # A scheduled job's id holds the name of the schedule and a time.
    return f"/api/jobs/{quote(job_id, safe='@:+')}"


def schedule_path(name: str) -> str:
    """Return the path under which a schedule is found."""
    return f"/api/schedules/{name}"


def job_document(job: JobRecord) -> Job:
    """Return a job as clients see it, without its request."""
    return Job.model_validate(_job_values(job))


def job_document_with_request(job: JobRecord) -> JobWithRequest:
    """Return a job as clients see it, with its request."""
    return JobWithRequest.model_validate({**_job_values(job), "request": job.request})


def _job_values(job: JobRecord) -> dict[str, Any]:
    """Return the fields of a job; plain values, for one validation of the whole is the quickest way to build it."""
    path = job_path(job.id)
    return {
        "id": job.id,
        "kind": job.kind,
        "owner": job.owner,
        "user_id": job.user_id,
        "status": job.status,
        "epoch": job.epoch,
        "progress": _progress(job),
        "summary": job.summary,
        "error": job.error and {"code": job.error.code, "message": job.error.message},
        "cancel_requested_at": job.cancel_requested_at,
        "resumes_at": job.resumes_at,
        "schedule": job.schedule,
        "followed_by": job.followed_by,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "links": {
            "self": path,
            "items": f"{path}/items",
            "events": f"{path}/events",
            "cancel": f"{path}/cancel",
            "retry": f"{path}/retry",
        },
    }


def _progress(job: JobRecord) -> Json:
    progress = job.progress
    rate = items_per_second(job)
    return {
        "total": progress.total,
        "total_is_exact": progress.total_is_exact,
        "succeeded": progress.succeeded,
        "cached": progress.cached,
        "failed": progress.failed,
        "cancelled": progress.cancelled,
        "done": progress.done,
        "busy_seconds": round(progress.busy_seconds, 3),
        "items_per_second": rate and round(rate, 3),
        "eta_seconds": eta_seconds(job),
    }


def item_document(item: StoredItem) -> JobItem:
    """Return an item as clients see it."""
    error = ItemProblem(code=item.error.code, message=item.error.message) if item.error else None
    return JobItem(index=item.index, item=item.item, status=item.status, result=item.result, error=error)


def kind_document(kind: JobKind) -> Kind:
    """Return what a client must know of a kind to submit it and to read what comes out."""
    return Kind(
        name=kind.name,
        title=kind.title,
        description=kind.description,
        queue=kind.queue,
        submit=f"/api/jobs/{kind.name}",
        request_schema=kind.request.model_json_schema(),
        item_schema=kind.item.model_json_schema(mode="serialization"),
        result_schema=kind.result.model_json_schema(mode="serialization"),
        summary_schema=kind.summary.model_json_schema(mode="serialization"),
        examples=kind.examples,
    )


def schedule_document(schedule: Schedule) -> ScheduleDocument:
    """Return a schedule as clients see it."""
    last_job = job_path(schedule.last_job_id) if schedule.last_job_id else None
    links = {"self": schedule_path(schedule.name), "last_job": last_job}
    return ScheduleDocument.model_validate({**schedule.model_dump(exclude={"id"}), "links": links})
