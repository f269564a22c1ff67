"""Jobs as tasks: a client that knows the extension polls the job itself, under the job's own id.

A task stands for one submit. It ends with the job's first end and stays so: a retry opens the job again, not the task.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

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
from api.mcp.answers import ended_answer, job_answer, job_in_words, job_line
from api.mcp.tool import Provide
from api.mcp.wire import NAME_HEADER, TASK_METHODS, in_words
from api.problems import explained
from shared.access import Scope
from shared.clock import now
from shared.errors import JobFinished, JobNotFound
from shared.model import Db, Json
from shared.store import jobs
from shared.store.job_record import JobEnd, JobRecord, JobStatus

IDENTIFIER = "io.modelcontextprotocol/tasks"
VERSIONS = frozenset(MODERN_PROTOCOL_VERSIONS)

YOUNG = timedelta(seconds=10)
POLL_MILLISECONDS = 1_000
POLL_MILLISECONDS_LATER = 5_000
"""A job that has not ended within the first seconds is asked after less often."""

FAULTS = frozenset({"unexpected", "gave_up", "items_lost"})
"""What a job's error is called where not its items failed but the machinery under them."""

RETRIED = "This task has ended; its job was retried since, and goes on under the same job id."

Context = ServerRequestContext[Any, Any]


class TaskParams(RequestParams):
    """Which task."""

    task_id: str = Field(alias="taskId", min_length=1, max_length=256)


class TaskUpdateParams(TaskParams):
    """Which task, and answers to what it asked."""

    input_responses: Json = Field(alias="inputResponses")


class Inputs(Protocol):
    """Where jobs ask whoever follows them, and where the answers go."""

    def asked(self, db: Db, job_id: str) -> Mapping[str, Json]:
        """Return what a job asks and nobody has answered: requests such as `elicitation/create`, by their keys.

        A key stands for one request over the whole life of a job.
        """

    def answer(self, db: Db, job_id: str, answers: Mapping[str, Json]) -> None:
        """Keep the answers to what is asked; those to anything else are passed over."""


@dataclass(frozen=True, kw_only=True)
class _State:
    """A job, and what it asks."""

    job: JobRecord
    asked: Mapping[str, Json] = field(default_factory=dict)

    @property
    def is_retried(self) -> bool:
        return self.job.epoch > 0

    @property
    def has_ended(self) -> bool:
        return self.job.status.is_final or self.is_retried

    @property
    def end(self) -> JobEnd:
        """How the task ended: a retry goes on under the job's id, but what a task came to must not change."""
        return self.job.first_end or JobEnd(status=self.job.status, error=self.job.error)

    @property
    def status(self) -> str:
        if not self.has_ended:
            return "input_required" if self.asked else "working"
        if self.end.status is JobStatus.CANCELLED:
            return "cancelled"
        # Also where every item failed: that is the tool's result, and `failed` is kept for errors of the protocol.
        is_broken = self.end.status is JobStatus.FAILED and self.end.error and self.end.error.code in FAULTS
        return "failed" if is_broken else "completed"


class Tasks(Extension):
    """Answers a submit with a task where the client has declared that it can follow one."""

    identifier = IDENTIFIER

    def __init__(self, tools: Collection[str], provide: Provide, inputs: Inputs | None = None) -> None:
        """Know the tools that submit a job, and where jobs ask."""
        self._tools, self._provide, self._inputs = frozenset(tools), provide, inputs

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
        """Take in answers; those that nobody waits for are passed over."""
        _check(ctx, params)
        state = await self._read(params.task_id)
        if self._inputs is not None and not state.has_ended:
            await self._call(partial(self._answer, self._inputs, params.input_responses), params.task_id)
        return {}

    def _answer(self, inputs: Inputs, answers: Mapping[str, Json], job_id: str) -> None:
        inputs.answer(self._provide().connection.db, job_id, answers)

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params)
        state = await self._read(params.task_id)
        if not state.has_ended:
            await self._call(self._request_cancel, params.task_id)
        return {}

    def _request_cancel(self, job_id: str) -> None:
        services = self._provide()
        seen = visit.current()
        seen.action, seen.target, seen.changes = "cancel_job", job_id, True
        with suppress(JobFinished):  # nothing is left to stop, which is what was wanted
            routes.cancel_job(visit.principal(Scope.JOBS_WRITE), services.connection.db, services, job_id)

    async def _read(self, job_id: str) -> _State:
        found: _State = await self._call(self._state, job_id)
        return found

    def _state(self, job_id: str) -> _State:
        db = self._provide().connection.db
        state = _State(job=jobs.get_owned(db, visit.principal(Scope.JOBS_READ).owner, job_id))
        if self._inputs is None or state.has_ended:
            return state
        return replace(state, asked=self._inputs.asked(db, job_id))

    async def _call(self, ask: Callable[[str], Any], job_id: str) -> Any:
        """Ask in a thread; what goes wrong becomes an error of the protocol."""
        try:
            return await to_thread.run_sync(ask, job_id)
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


def _task(state: _State) -> Json:
    """Return what every form of a task has."""
    job = state.job
    document = job_document(job)
    is_young = now() - job.created_at < YOUNG
    ttl = job.expires_at and round((job.expires_at - job.created_at).total_seconds() * 1000)
    return {
        "taskId": job.id,
        "status": state.status,
        "statusMessage": RETRIED if state.is_retried else job_line(document),
        "createdAt": document.to_json()["createdAt"],
        "lastUpdatedAt": document.to_json()["updatedAt"],
        "ttlMs": ttl,
        "pollIntervalMs": POLL_MILLISECONDS if is_young else POLL_MILLISECONDS_LATER,
    }


def _detailed(state: _State) -> Json:
    """Return a task with what its status brings: what it asks, its tool call's result, or why there is none."""
    task = _task(state)
    if task["status"] == "input_required":
        return {**task, "inputRequests": dict(state.asked)}
    if task["status"] == "completed":
        return {**task, "result": _result(state).model_dump(mode="json", by_alias=True, exclude_none=True)}
    if task["status"] == "failed":
        return {**task, "error": _error(state)}
    return task


def _result(state: _State) -> CallToolResult:
    job = job_document(state.job)
    return job_answer(job, f"{RETRIED} {job_in_words(job)}") if state.is_retried else ended_answer(job)


def _error(state: _State) -> Json:
    """Return the protocol's error for a job that broke; the job itself says more."""
    job, error = state.job, state.end.error
    words = f"{RETRIED} {error.message}" if state.is_retried and error else job_in_words(job_document(job))
    data = {"code": error and error.code, "jobId": job.id, "advice": "Look at the job: get_job."}
    return {"code": INTERNAL_ERROR, "message": words, "data": data}
