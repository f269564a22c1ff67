"""The routes of jobs: submit, list, read, cancel, retry."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.openapi.models import Example

from api.access import visit
from api.access.visit import Reader, Writer
from api.documents import (
    ItemPage,
    Job,
    JobPage,
    JobWithRequest,
    item_document,
    job_document,
    job_document_with_request,
    job_path,
)
from api.problems import Problem
from api.services import InjectedDb, InjectedServices, Services
from shared import lifecycle, pages
from shared.access import Principal
from shared.errors import InvalidRequest
from shared.items import ItemStatus
from shared.jobs import get_kind
from shared.jobs.job import JobKind, JobRequest
from shared.store import jobs
from shared.store.job_record import JobRecord, JobStatus

WAIT_SECONDS_MAX = 50
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d+)"?\s*(?=[,;]|$)', re.IGNORECASE)

JobId = Annotated[str, Path(description="The job's id", examples=["job_019a"], max_length=256)]
KEY_LENGTH_MAX = 200
SUBMIT_HEADERS: list[dict[str, Any]] = [
    {
        "in": "header",
        "name": "Idempotency-Key",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
        "description": "The first job submitted for this user under this key is returned, with"
        " `Idempotent-Replayed: true`",
    },
    {
        "in": "header",
        "name": "Prefer",
        "schema": {"type": "string", "examples": ["wait=10"]},
        "description": f"`wait=N` waits up to N (at most {WAIT_SECONDS_MAX}) seconds for the job's end (RFC 7240)",
    },
]
"""Described here and read by hand: as declared parameters they take a tenth of the time of a request."""

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such job"}}

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


def wait_seconds(prefer: Sequence[str]) -> int:
    """Return how long a client prefers to wait; 0 where it says nothing, or nothing that can be understood."""
    found = _WAIT.search(",".join(prefer))
    # A count of more digits than that is above the maximum anyway.
    return min(int(found[1][:9]), WAIT_SECONDS_MAX) if found else 0


def submit_routes(kinds: Sequence[JobKind]) -> APIRouter:
    """Return one route per kind of job, and one that answers for the kinds that do not exist."""
    routes = APIRouter(prefix="/api/jobs", tags=["submit"])
    for kind in kinds:
        add_submit_route(routes, f"/{kind.name}", kind, name=f"submit_{kind.name}")
    routes.add_api_route("/{kind}", _submit_unknown, methods=["POST"], include_in_schema=False)
    return routes


def add_submit_route(routes: APIRouter, path: str, kind: JobKind, *, name: str) -> None:
    """Let jobs of a kind be submitted at a path."""
    routes.add_api_route(
        path,
        _submit_endpoint(kind),
        methods=["POST"],
        name=name,
        summary=kind.title,
        description=kind.description,
        status_code=202,
        response_model=Job,
        responses=_submit_responses(),
        # The security likewise is described here and checked by hand.
        openapi_extra={"parameters": SUBMIT_HEADERS, "security": [{visit.SCHEME: [kind.scope.value]}]},
    )


def _submit_responses() -> dict[int | str, dict[str, Any]]:
    text = {"schema": {"type": "string"}}
    location = {"Location": {"description": "Where the job is found", **text}}
    replayed = {"Idempotent-Replayed": {"description": "`true` when an earlier job is returned", **text}}
    applied = {"Preference-Applied": {"description": "The waiting that was done", **text}}
    headers = {**location, **replayed, **applied}
    return {
        200: {"model": Job, "description": "The job has ended within the time of `Prefer: wait`", "headers": headers},
        202: {"description": "The job is stored, and will be done", "headers": headers},
        413: {"model": Problem, "description": "The body is too long"},
    }


def _submit_endpoint(kind: JobKind) -> Callable[..., Awaitable[Job]]:
    examples: dict[str, Example] = {f"example {n}": {"value": value} for n, value in enumerate(kind.examples, start=1)}

    async def endpoint(
        services: InjectedServices,
        response: Response,
        request: Request,
        body: JobRequest,
    ) -> Job:
        who = visit.principal(kind.scope)
        job, is_new = await submit(services, who, kind, body, _idempotency_key(request))
        response.headers["Location"] = job_path(job.id)
        if not is_new:
            response.headers["Idempotent-Replayed"] = "true"
        if seconds := wait_seconds(request.headers.getlist("prefer")):
            response.headers["Preference-Applied"] = f"wait={seconds}"
            job = await services.watcher.wait_for_end(job, seconds)
            response.status_code = 200 if job.status.is_final else 202
        return job_document(job)

    endpoint.__annotations__["body"] = Annotated[kind.request, Body(openapi_examples=examples)]
    return endpoint


async def submit(
    services: Services, who: Principal, kind: JobKind, body: JobRequest, key: str | None
) -> tuple[JobRecord, bool]:
    """Store a job and ring for it; return it, and whether it is new.

    With an idempotency key that was used before, the first job is returned. Raises `RateLimited`, `QuotaExceeded`,
    `IdempotencyConflict`.
    """
    await _take_from_budget(services, who, kind)
    db = services.connection.db
    await services.open_jobs.take(db, who.owner)
    job = lifecycle.new_job(kind, body, owner=who.owner, idempotency_key=key)
    is_new = await services.intake.insert(job)
    if is_new:
        services.counted.submitted(kind.name)
    else:
        job = await to_thread.run_sync(lifecycle.first_of, db, job)
    if job.status is JobStatus.QUEUED:
        services.doorbell.plan(job.id)
    return job, is_new


async def _take_from_budget(services: Services, who: Principal, kind: JobKind) -> None:
    budgets = services.budgets
    rule = budgets.provider_submits if kind.asks_providers else budgets.submits
    standing = await services.limiter.take(rule, f"{who.actor} {kind.name}")
    if standing is not None:
        visit.current().standings.append(standing)


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not 1 <= len(key) <= KEY_LENGTH_MAX:
        reason = f"must have 1 to {KEY_LENGTH_MAX} characters"
        raise InvalidRequest(f"Idempotency-Key {reason}.", fields=[("Idempotency-Key", reason)])
    return key


async def _submit_unknown(_: Writer, kind: str) -> None:
    get_kind(kind)


@router.get("", summary="List jobs", response_model=JobPage)
def list_jobs(
    who: Reader,
    db: InjectedDb,
    kind: Annotated[str | None, Query(description="Only jobs of this kind")] = None,
    # The empty lists are FastAPI's way to say "none given"; nobody changes them.
    status: Annotated[list[JobStatus], Query(description="Only jobs in one of these; may be repeated")] = [],  # noqa: B006
    user_id: Annotated[str | None, Query(alias="userId", description="Only jobs for this user of yours")] = None,
    owner: Annotated[str | None, Query(description="Only jobs of this owner; nobody sees but their own")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most")] = 50,
    after: Annotated[str | None, Query(description="The `nextCursor` of the page before")] = None,
) -> JobPage:
    """Jobs, newest first, without their requests."""
    if owner not in (None, who.owner):
        return JobPage(jobs=(), next_cursor=None)
    found, cursor = jobs.page(db, owner=who.owner, user_id=user_id, kind=kind, status=status, limit=limit, after=after)
    return JobPage.model_construct(jobs=tuple(job_document(job) for job in found), next_cursor=cursor)


@router.get("/{job_id}", summary="Read a job", response_model=JobWithRequest, responses=NOT_FOUND)
def read_job(who: Reader, db: InjectedDb, job_id: JobId) -> JobWithRequest:
    """One job, with its request."""
    return job_document_with_request(jobs.get_owned(db, who.owner, job_id))


@router.get("/{job_id}/items", summary="Read a job's items", response_model=ItemPage, responses=NOT_FOUND)
def list_items(
    who: Reader,
    db: InjectedDb,
    services: InjectedServices,
    job_id: JobId,
    status: Annotated[list[ItemStatus], Query(description="Only items that ended so; may be repeated")] = [],  # noqa: B006
    after: Annotated[str | None, Query(description="The `nextCursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many at most")] = 100,
) -> ItemPage:
    """What became of the items, in the order of the job's plan; while it runs, those that are done."""
    job = jobs.get_owned(db, who.owner, job_id)
    page = pages.items_page(db, job, after=after, limit=limit, status=status, settings=services.settings)
    items = tuple(item_document(item) for item in page.items)
    return ItemPage(items=items, next_cursor=page.cursor, job_status=job.status)


@router.delete(
    "/{job_id}",
    name="delete_job",
    summary="Cancel a job (the same as POST cancel)",
    status_code=202,
    response_model=Job,
    responses={**NOT_FOUND, 409: {"model": Problem, "description": "The job has ended"}},
)
@router.post(
    "/{job_id}/cancel",
    name="cancel_job",
    summary="Cancel a job",
    status_code=202,
    response_model=Job,
    responses={**NOT_FOUND, 409: {"model": Problem, "description": "The job has ended"}},
)
def cancel_job(who: Writer, db: InjectedDb, services: InjectedServices, job_id: JobId) -> Job:
    """No new item starts within seconds; what is done stands. Cancelling a cancelled job changes nothing."""
    job = lifecycle.cancel(db, job_id, owner=who.owner)
    if not job.status.is_final:
        services.doorbell.finish(job.id)
    return job_document(job)


@router.post(
    "/{job_id}/retry",
    summary="Retry what failed",
    status_code=202,
    response_model=Job,
    responses={**NOT_FOUND, 409: {"model": Problem, "description": "The job is at work, or nothing of it failed"}},
)
def retry_job(who: Writer, db: InjectedDb, services: InjectedServices, job_id: JobId) -> Job:
    """Take up again, in a new epoch, what failed or was not reached; what is good stands."""
    job = lifecycle.retry(db, job_id, owner=who.owner)
    services.counted.retried(job.kind)
    services.doorbell.plan(job.id)
    return job_document(job)
