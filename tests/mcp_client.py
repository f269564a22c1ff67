"""Clients of the MCP door: the SDK's own, with and without the extension for tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, NamedTuple, TypeVar

import anyio
import httpx2
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ContentBlock, Request, RequestParams, Result, TextContent
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from api.mcp.tool import PROBLEM
from shared.model import Json
from tests.api_server import bearer
from tests.waiting import STEP_SECONDS

ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
"""How a client begins, and the version of the protocol that comes of it."""

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": ERAS["auto"],
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}
MODERN = {"MCP-Protocol-Version": ERAS["auto"], "Accept": "application/json, text/event-stream"}

T = TypeVar("T")


def run(steps: Callable[[], Awaitable[T]], *, seconds: float = 90.0) -> T:
    """Run a test's steps in an event loop of their own."""

    async def bounded() -> T:
        with anyio.fail_after(seconds):
            return await steps()

    return anyio.run(bounded)


class Door(NamedTuple):
    """The MCP door of an API, and a key to it."""

    url: str
    key: str


@asynccontextmanager
async def connect(
    server: Door | StdioServerParameters | str, era: str = "auto", extensions: Sequence[ClientExtension] = ()
) -> AsyncIterator[Client]:
    """Give a client of a door, of one at this address that asks for no key, or of a command."""
    async with AsyncExitStack() as cleanup:
        transport: Any = f"{server}/mcp" if isinstance(server, str) else server
        if isinstance(server, Door):
            http = await cleanup.enter_async_context(httpx2.AsyncClient(headers=bearer(server.key), timeout=60.0))
            transport = streamable_http_client(f"{server.url}/mcp", http_client=http)
        yield await cleanup.enter_async_context(Client(transport, mode=era, extensions=extensions or None))


async def call(client: Client, tool: str, /, **arguments: Any) -> Json:
    """Return what a tool that must work answers, as programs see it."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result.content)
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def refused(client: Client, tool: str, /, **arguments: Any) -> Json:
    """Return the problem that a tool must answer with."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, text_of(result.content)
    problem: Json = (result.meta or {})[PROBLEM]
    assert text_of(result.content) == f"{problem['code']}: {problem['detail']} {problem['advice']}"
    return problem


def body(method: str, params: Json) -> Json:
    """Return a request of the present protocol, as it goes over the wire."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": ENVELOPE}}


async def finished(client: Client, job_id: str) -> Json:
    """Wait for a job's end, as a model does."""
    while True:
        job = await call(client, "wait_for_job", jobId=job_id, timeout=20)
        if job["finishedAt"] is not None:
            return job


def text_of(content: Sequence[ContentBlock]) -> str:
    """Return what a model reads."""
    return "\n".join(block.text for block in content if isinstance(block, TextContent))


class _Task(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    task_id: str
    status: str
    status_message: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None = Field(...)
    poll_interval_ms: int


class CreatedTask(_Task, Result):
    """A task in place of a tool's result."""

    result_type: Literal["task"] = Field(default="task", alias="resultType")


class TaskState(_Task, Result):
    """How a task stands."""

    result: Json | None = None
    error: Json | None = None
    input_requests: Json | None = None


class TaskAcknowledged(Result):
    """All that an update or a cancellation answers."""


class TaskParams(RequestParams):
    task_id: str = Field(alias="taskId")
    input_responses: Json | None = Field(default=None, alias="inputResponses")


class TaskRequest(Request[TaskParams, str]):
    """One of the three requests about a task; the transport copies its id into the header."""

    name_param = "taskId"


def task_request(method: str, task_id: str, **more: Any) -> TaskRequest:
    return TaskRequest(method=method, params=TaskParams(taskId=task_id, **more))


async def task_state(session: Any, task_id: str) -> TaskState:
    found: TaskState = await session.send_request(task_request("tasks/get", task_id), TaskState)
    return found


Answering = Callable[[Json], Json]
"""Makes the answer to a request such as `elicitation/create`."""


class TaskClient(ClientExtension):
    """Follows a task to its end, as a client that knows the extension does; `answer` is what it says if it is asked."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, answer: Json | Answering | None = None) -> None:
        self.created: list[CreatedTask] = []
        self.asked: list[str] = []
        self._answer = answer

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=self._follow)]

    async def _follow(self, task: CreatedTask, context: ClaimContext) -> CallToolResult:
        self.created.append(task)
        while True:
            state = await task_state(context.session, task.task_id)
            if state.status == "completed":
                return CallToolResult.model_validate(state.result)
            if state.error is not None:
                raise MCPError(state.error["code"], state.error["message"], state.error["data"])
            if state.input_requests:
                await self._reply(state, context)
            else:
                assert state.status == "working"
            await anyio.sleep(STEP_SECONDS)

    async def _reply(self, state: TaskState, context: ClaimContext) -> None:
        assert state.status == "input_required"
        assert state.input_requests
        self.asked += [request["params"]["message"] for request in state.input_requests.values()]
        answers = {
            key: self._answer(request) if callable(self._answer) else self._answer
            for key, request in state.input_requests.items()
        }
        update = task_request("tasks/update", state.task_id, inputResponses=answers)
        await context.session.send_request(update, TaskAcknowledged)
