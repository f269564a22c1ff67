"""Jobs as tasks: a client that knows the extension polls the job itself, under the job's own id."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from anyio import to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, RequestHandler
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    RequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from api import jobs as routes
from api.access import visit
from api.documents import job_document
from api.mcp.answers import ended_answer, job_line
from api.mcp.tool import Provide
from api.mcp.wire import NAME_HEADER, TASK_METHODS, in_words
from api.problems import explained
from shared.access import Scope
from shared.clock import now
from shared.errors import JobFinished, JobNotFound
from shared.model import Json
from shared.store import jobs
from shared.store.job_record import JobRecord, JobStatus

IDENTIFIER = "io.modelcontextprotocol/tasks"
VERSIONS = frozenset(MODERN_PROTOCOL_VERSIONS)

YOUNG = timedelta(seconds=10)
POLL_MILLISECONDS = 1_000
POLL_MILLISECONDS_LATER = 5_000
"""A job that has not ended within the first seconds is asked after less often."""

Context = ServerRequestContext[Any, Any]


class TaskParams(RequestParams):
    """Which task."""

    task_id: str = Field(alias="taskId", min_length=1, max_length=256)


class TaskUpdateParams(TaskParams):
    """Which task, and answers to what it asked."""

    input_responses: Json = Field(alias="inputResponses")


class Tasks(Extension):
    """Answers a submit with a task where the client has declared that it can follow one."""

    identifier = IDENTIFIER

    def __init__(self, tools: Collection[str], provide: Provide) -> None:
        """Know the tools that submit a job."""
        self._tools, self._provide = frozenset(tools), provide

    def methods(self) -> list[MethodBinding]:
        """Return the methods of the extension; it does not exist before the version that brought it."""
        handlers: list[tuple[type[TaskParams], RequestHandler]] = [
            (TaskParams, self._get),
            (TaskUpdateParams, self._update),
            (TaskParams, self._cancel),
        ]
        return [
            MethodBinding(method=method, params_type=params, handler=handler, protocol_versions=VERSIONS)
            for method, (params, handler) in zip(TASK_METHODS, handlers, strict=True)
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Put a task in the place of a submitted job, which is stored by then, for those who can follow it."""
        result = await call_next(ctx)
        if params.name not in self._tools or not isinstance(result, CallToolResult) or result.is_error:
            return result
        if ctx.protocol_version not in VERSIONS or not _is_declared(ctx):
            return result
        job_id = (result.structured_content or {})["id"]
        return {**_task(await self._read(job_id)), "resultType": "task"}

    async def _get(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params)
        return _detailed(await self._read(params.task_id))

    async def _update(self, ctx: Context, params: TaskUpdateParams) -> HandlerResult:
        """Take in answers; no job asks anything yet, and answers that nobody waits for are passed over."""
        _check(ctx, params)
        await self._read(params.task_id)
        return {}

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params)
        try:
            await self._call(self._request_cancel, params.task_id)
        except JobFinished:
            return {}  # nothing is left to stop, which is what was wanted
        return {}

    def _request_cancel(self, job_id: str) -> None:
        services = self._provide()
        seen = visit.current()
        seen.action, seen.target, seen.changes = "cancel_job", job_id, True
        routes.cancel_job(visit.principal(Scope.JOBS_WRITE), services.connection.db, services, job_id)

    async def _read(self, job_id: str) -> JobRecord:
        def read(one: str) -> JobRecord:
            owner = visit.principal(Scope.JOBS_READ).owner
            return jobs.get_owned(self._provide().connection.db, owner, one)

        found: JobRecord = await self._call(read, job_id)
        return found

    async def _call(self, ask: Any, job_id: str) -> Any:
        """Ask in a thread; what goes wrong becomes an error of the protocol."""
        try:
            return await to_thread.run_sync(ask, job_id)
        except JobFinished:
            raise
        except Exception as error:  # the request's boundary: `explained` logs what nobody foresaw
            meaning = explained(error, self._provide().connection, where=f"The task {job_id}")
            code = INVALID_PARAMS if isinstance(meaning, JobNotFound) else INTERNAL_ERROR
            raise MCPError(code, in_words(meaning), {"code": meaning.code, "advice": meaning.advice}) from error


def _is_declared(ctx: Context) -> bool:
    capabilities = ctx.session.client_capabilities
    return bool(capabilities and IDENTIFIER in (capabilities.extensions or {}))


def _check(ctx: Context, params: TaskParams) -> None:
    """Refuse clients that have not declared the extension, and requests whose routing header names another task."""
    require_client_extension(ctx, IDENTIFIER)
    # Proxies route by the header: one that disagrees with the body must not get through.
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and decode_header_value(headers.get(NAME_HEADER)) != params.task_id:
        raise MCPError(HEADER_MISMATCH, f"The {NAME_HEADER} header does not match the request body's 'taskId'.")


def _task(job: JobRecord) -> Json:
    """Return what every form of a task has."""
    document = job_document(job)
    is_young = now() - job.created_at < YOUNG
    ttl = job.expires_at and round((job.expires_at - job.created_at).total_seconds() * 1000)
    return {
        "taskId": job.id,
        "status": _status(job.status),
        "statusMessage": job_line(document),
        "createdAt": document.to_json()["createdAt"],
        "lastUpdatedAt": document.to_json()["updatedAt"],
        "ttlMs": ttl,
        "pollIntervalMs": POLL_MILLISECONDS if is_young else POLL_MILLISECONDS_LATER,
    }


def _status(status: JobStatus) -> str:
    if status is JobStatus.CANCELLED:
        return "cancelled"
    # Also where everything failed: `failed` is kept for errors of the protocol itself.
    return "completed" if status.is_final else "working"


def _detailed(job: JobRecord) -> Json:
    """Return a task with the result that its tool call has by now."""
    task = _task(job)
    if task["status"] != "completed":
        return task
    result = ended_answer(job_document(job))
    return {**task, "result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}
