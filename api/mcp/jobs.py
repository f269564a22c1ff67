"""The tools of jobs: submit one of each kind, look, wait, page through the items, cancel, retry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from anyio import to_thread
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ResourceLink
from pydantic import Field

from api import jobs as routes
from api.access import visit
from api.documents import ItemPage, Job, JobPage, job_document, kind_document
from api.mcp.answers import (
    JSON,
    answer,
    fitting,
    item_page_answer,
    job_answer,
    job_in_words,
    job_page_answer,
    kind_line,
    kind_uri,
    slim,
    without_long_results,
)
from api.mcp.questions import answered
from api.mcp.tool import ADDS, ENDS, READS, JobTool, Nothing, Provide, lean, made, tool
from shared.access import Scope
from shared.broker import Queue
from shared.errors import InvalidRequest
from shared.items import ItemStatus
from shared.jobs.database_repair import APPROVE
from shared.jobs.job import JobKind, JobRequest
from shared.lifecycle import validate_request
from shared.model import Body, Json
from shared.store import jobs
from shared.store.job_record import JobRecord, JobStatus

WAIT_SECONDS = 30
ITEMS = 20
ITEMS_MAX = 200
JOBS = 10
JOBS_MAX = 50
KEY = "idempotencyKey"
KEY_SCHEMA: Json = {
    "type": "string",
    "minLength": 1,
    "maxLength": routes.KEY_LENGTH_MAX,
    "description": "A name of your choice for this very call: the same key again gives the same job, no second one",
}

JobId = Annotated[str, Field(min_length=1, max_length=256, description="The job's id", examples=["job_019a"])]
After = Annotated[str | None, Field(max_length=400, description="The nextCursor of the page before")]


class OneJob(Body):
    """Which job."""

    job_id: JobId


class Wait(OneJob):
    """Which job, and how long."""

    timeout: float = Field(
        default=WAIT_SECONDS,
        ge=0,
        le=routes.WAIT_SECONDS_MAX,
        description="Seconds to wait at most; the job goes on however this ends, and you may wait again",
    )


class Answer(OneJob):
    """What to answer a job that asks."""

    key: str = Field(default=APPROVE, max_length=100, description="Which question; a repair asks `approve`")
    action: Literal["accept", "decline"] = Field(description="Only as the user has decided")
    content: Json = Field(
        default_factory=dict, description="The answer; to approve a repair, the `planHash` of the plan that was read"
    )


class WhichItems(OneJob):
    """Which items of which job."""

    status: tuple[ItemStatus, ...] = Field(default=(), description="Only items that ended so, such as failed")
    after: After = None
    limit: int = Field(default=ITEMS, ge=1, le=ITEMS_MAX, description="How many at most; fewer where they are long")


class WhichJobs(Body):
    """Which jobs."""

    kind: str | None = Field(default=None, max_length=256, description="Only jobs of this kind")
    status: tuple[JobStatus, ...] = Field(default=(), description="Only jobs in one of these")
    user_id: str | None = Field(default=None, max_length=256, description="Only jobs for this user")
    after: After = None
    limit: int = Field(default=JOBS, ge=1, le=JOBS_MAX, description="How many at most")


class KindSummary(Body):
    """A kind of job, and the tool that submits one."""

    name: str
    title: str
    description: str
    tool: str = Field(description="The tool that submits a job of this kind; its arguments are the request")
    queue: Queue
    examples: tuple[Json, ...] = Field(description="Arguments that are valid")


class KindSummaries(Body):
    """Every kind of job."""

    kinds: tuple[KindSummary, ...]


def submit_tool(kind: JobKind, provide: Provide) -> JobTool:
    """Return the tool that submits jobs of one kind; its arguments are the kind's request."""
    schema = lean(kind.request.model_json_schema())
    has_key = KEY not in schema["properties"]
    if has_key:
        schema["properties"] = {**schema["properties"], KEY: KEY_SCHEMA}
    if kind.examples:
        schema["examples"] = list(kind.examples)

    def check(values: Json) -> tuple[JobRequest, str | None]:
        key = values.get(KEY) if has_key else None
        if key is not None and not (isinstance(key, str) and 1 <= len(key) <= routes.KEY_LENGTH_MAX):
            reason = f"must be text of 1 to {routes.KEY_LENGTH_MAX} characters"
            raise InvalidRequest(f"The request is not valid: {KEY}: {reason}.", fields=[(KEY, reason)])
        body = {name: value for name, value in values.items() if not (has_key and name == KEY)}
        return validate_request(kind, body), key

    async def submit(request: tuple[JobRequest, str | None], _: Context[Any, Any]) -> CallToolResult:
        job, is_new = await routes.submit(provide(), visit.principal(kind.scope), kind, *request)
        visit.current().target = job.id
        text = "" if is_new else "This key was used before; here is its job. "
        return job_answer(job_document(job), text + job_in_words(job_document(job)))

    return made(
        submit,
        name=kind.tool_name,
        title=kind.title,
        description=f"{kind.description} Returns a job id at once; the work goes on in the background."
        " Follow it with wait_for_job.",
        annotations=ADDS,
        check=check,
        schema=schema,
        output=Job,
        provide=provide,
        scope=kind.scope,
        submits=True,
    )


def job_tools(kinds: Sequence[JobKind], provide: Provide) -> list[JobTool]:
    """Return the tools that every kind shares."""

    async def list_job_kinds(_: Nothing, __: Context[Any, Any]) -> CallToolResult:
        documents = [(kind_document(kind), kind.tool_name) for kind in kinds]
        summaries = tuple(
            KindSummary(**kind.model_dump(include=set(KindSummary.model_fields) - {"tool"}), tool=name)
            for kind, name in documents
        )
        links = [
            ResourceLink(
                type="resource_link", uri=kind_uri(kind.name), name=kind.name, title=kind.title, mime_type=JSON
            )
            for kind in kinds
        ]
        lines = [kind_line(kind, name) for kind, name in documents]
        return answer("\n".join(lines), KindSummaries(kinds=summaries), links)

    async def get_job(which: OneJob, _: Context[Any, Any]) -> CallToolResult:
        return job_answer(job_document(await read(which.job_id)))

    async def wait_for_job(which: Wait, context: Context[Any, Any]) -> CallToolResult:
        job = await _wait(await read(which.job_id), which.timeout, provide, context)
        return job_answer(job_document(job))

    async def get_job_items(which: WhichItems, _: Context[Any, Any]) -> CallToolResult:
        return item_page_answer(await to_thread.run_sync(items_of, which))

    async def cancel_job(which: OneJob, _: Context[Any, Any]) -> CallToolResult:
        return job_answer(await to_thread.run_sync(change, routes.cancel_job, which.job_id))

    async def retry_job(which: OneJob, _: Context[Any, Any]) -> CallToolResult:
        return job_answer(await to_thread.run_sync(change, routes.retry_job, which.job_id))

    async def answer_job(which: Answer, _: Context[Any, Any]) -> CallToolResult:
        content = {"action": which.action, "content": which.content}
        job = await to_thread.run_sync(answered, provide().connection.db, which.job_id, which.key, content)
        return job_answer(job_document(job))

    async def list_jobs(which: WhichJobs, _: Context[Any, Any]) -> CallToolResult:
        return job_page_answer(await to_thread.run_sync(jobs_of, which))

    async def read(job_id: str) -> JobRecord:
        owner = visit.principal(Scope.JOBS_READ).owner
        return await to_thread.run_sync(jobs.get_owned, provide().connection.db, owner, job_id)

    def change(route: Any, job_id: str) -> Job:
        services = provide()
        changed: Job = route(visit.principal(Scope.JOBS_WRITE), services.connection.db, services, job_id)
        return changed

    def items_of(which: WhichItems) -> ItemPage:
        return items_page(provide, which)

    def jobs_of(which: WhichJobs) -> JobPage:
        def page(limit: int) -> JobPage:
            found = routes.list_jobs(
                visit.principal(Scope.JOBS_READ),
                provide().connection.db,
                kind=which.kind,
                status=list(which.status),
                user_id=which.user_id,
                limit=limit,
                after=which.after,
            )
            return found.model_copy(update={"jobs": tuple(slim(job) for job in found.jobs)})

        return fitting(page, which.limit, lambda found: found.jobs)

    define = partial(tool, provide=provide)
    return [
        define(
            list_job_kinds,
            name="list_job_kinds",
            title="List the kinds of job",
            description="Which kinds of heavy work can be submitted, what each is for, and the tool that submits it."
            " Start here if you do not know which tool fits.",
            annotations=READS,
            arguments=Nothing,
            output=KindSummaries,
        ),
        define(
            wait_for_job,
            name="wait_for_job",
            title="Wait for a job",
            description=f"Wait up to {routes.WAIT_SECONDS_MAX} seconds for a job's end, with progress notifications,"
            " and return how it stands then. Prefer this to calling get_job again and again.",
            annotations=READS,
            arguments=Wait,
            output=Job,
        ),
        define(
            get_job,
            name="get_job",
            title="Look at a job",
            description="How a job stands now: status, counts, time left, summary, and why it failed.",
            annotations=READS,
            arguments=OneJob,
            output=Job,
        ),
        define(
            get_job_items,
            name="get_job_items",
            title="Read a job's items",
            description="What became of each item of a job (a file, a track), page by page, in the order of the"
            ' job\'s plan: its result, or why it failed. Use status ["failed"] to find out what went wrong.',
            annotations=READS,
            arguments=WhichItems,
            output=ItemPage,
        ),
        define(
            list_jobs,
            name="list_jobs",
            title="List jobs",
            description="The jobs, newest first, filtered by kind, status or user. Use it to find the id of a job"
            " that was submitted earlier or elsewhere.",
            annotations=READS,
            arguments=WhichJobs,
            output=JobPage,
        ),
        define(
            cancel_job,
            name="cancel_job",
            title="Cancel a job",
            description="Stop a job: no new item starts within seconds; what is done stands. Only on the user's wish.",
            annotations=ENDS,
            arguments=OneJob,
            output=Job,
        ),
        define(
            answer_job,
            name="answer_job",
            title="Answer a job's question",
            description="Answer a job whose status is waiting_input, such as a repair whose plan is to be approved."
            " Only with the user's consent.",
            annotations=ENDS,
            arguments=Answer,
            output=Job,
        ),
        define(
            retry_job,
            name="retry_job",
            title="Retry what failed",
            description="Take up again what failed or was not reached in a job that has ended; what is good stands,"
            " and the job keeps its id. Use it once the cause is gone.",
            annotations=ADDS,
            arguments=OneJob,
            output=Job,
        ),
    ]


def items_page(provide: Provide, which: WhichItems) -> ItemPage:
    """Return the items that are asked for, as many as one answer may hold."""

    def page(limit: int) -> ItemPage:
        services = provide()
        who = visit.principal(Scope.JOBS_READ)
        return routes.list_items(
            who, services.connection.db, services, which.job_id, list(which.status), which.after, limit
        )

    return without_long_results(fitting(page, which.limit, lambda found: found.items))


async def _wait(job: JobRecord, seconds: float, provide: Provide, context: Context[Any, Any]) -> JobRecord:
    """Return the job once it has ended, or as it is after `seconds`; whoever waits hears of its progress.

    Only the waiting ends when the client goes away: the job knows nothing of it.
    """
    told = -1
    with provide().watcher.watch(job) as watch:
        try:
            async with asyncio.timeout(seconds):
                while not job.status.is_final:
                    told = await _tell(job, told, context)
                    job = await watch.change()
        except TimeoutError:
            return job
    return job


async def _tell(job: JobRecord, told: int, context: Context[Any, Any]) -> int:
    """Report progress where there is more of it, for it must only grow; return how much was told."""
    progress = job.progress
    done = progress.done + progress.cancelled
    if done <= told:
        return told
    total = progress.total if progress.total_is_exact else None
    message = f"{job.status.value}: {done} of {progress.total} items"
    await context.report_progress(done, total, message)
    return done
