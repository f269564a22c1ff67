"""A client that knows tasks follows jobs as such, from whichever API process."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
)

from api.mcp.stdio import Bridge
from deploy.stack import RunningStack
from shared.model import Json
from tests.machine import Part, free_port
from tests.mcp_client import (
    MODERN,
    Door,
    TaskAcknowledged,
    TaskClient,
    TaskState,
    body,
    call,
    connect,
    finished,
    run,
    task_request,
    task_state,
)
from tests.waiting import wait_until


def test_a_client_that_knows_tasks_gets_one_under_the_jobs_id(stack: RunningStack, http: httpx.Client) -> None:
    async def steps() -> None:
        tasks = TaskClient()
        async with connect(Door(stack.url, stack.key), extensions=[tasks]) as client:
            assert "io.modelcontextprotocol/tasks" in (client.server_capabilities.extensions or {})
            good = await client.call_tool("submit_squares", {"items": 20, "seconds": 0.02})
            assert not good.is_error
            assert (good.structured_content or {})["status"] == "succeeded"
            bad = await client.call_tool("submit_squares", {"items": 2, "fails": [0, 1]})
            assert bad.is_error
            assert (bad.structured_content or {})["status"] == "failed"
            assert [task.status for task in tasks.created] == ["working", "working"]
            assert [task.task_id for task in tasks.created] == [
                (result.structured_content or {})["id"] for result in (good, bad)
            ]
            assert http.get(f"/api/jobs/{tasks.created[0].task_id}").json()["status"] == "succeeded"
            refusal = await client.call_tool("submit_squares", {"items": "many"})
            assert refusal.is_error
            assert len(tasks.created) == 2
            state = await task_state(client.session, tasks.created[0].task_id)
            assert state.ttl_ms is not None
            assert "20 of 20 items done" in state.status_message

    run(steps)


def test_a_task_is_cancelled_and_an_unknown_one_is_refused(stack: RunningStack) -> None:
    async def steps() -> None:
        async with (
            connect(Door(stack.url, stack.key)) as plain,
            connect(Door(stack.url, stack.key), extensions=[TaskClient()]) as client,
        ):
            job_id = (await call(plain, "submit_squares", items=5000, seconds=0.1))["id"]
            update = task_request("tasks/update", job_id, inputResponses={"nobody": {"asked": True}})
            await client.session.send_request(update, TaskAcknowledged)
            await client.session.send_request(task_request("tasks/cancel", job_id), TaskAcknowledged)
            assert (await finished(plain, job_id))["status"] == "cancelled"
            assert (await task_state(client.session, job_id)).status == "cancelled"
            await client.session.send_request(task_request("tasks/cancel", job_id), TaskAcknowledged)
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                unknown = task_request(method, "job_nowhere", inputResponses={})
                with pytest.raises(MCPError) as caught:
                    await client.session.send_request(unknown, TaskState)
                assert caught.value.code == INVALID_PARAMS
                with pytest.raises(MCPError) as caught:
                    await plain.session.send_request(task_request(method, job_id, inputResponses={}), TaskState)
                assert caught.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY
        async with connect(Door(stack.url, stack.key), "legacy") as old:
            with pytest.raises(MCPError) as caught:
                await old.session.send_request(task_request("tasks/get", job_id), TaskState)
            assert caught.value.code == METHOD_NOT_FOUND

    run(steps)


def test_a_task_that_has_ended_stays_so_when_its_job_is_retried(stack: RunningStack) -> None:
    async def steps() -> None:
        tasks = TaskClient()
        async with connect(Door(stack.url, stack.key), extensions=[tasks]) as client:
            first = await client.call_tool(
                "submit_squares", {"items": 20, "fails_once": list(range(20)), "seconds": 0.1}
            )
            assert first.is_error
            job_id = tasks.created[0].task_id
            assert (await call(client, "retry_job", jobId=job_id))["epoch"] == 1
            for _ in range(2):  # while the job is at work again, and after its second end
                state = await task_state(client.session, job_id)
                assert state.status == "completed"
                assert "retried" in state.status_message
                await client.session.send_request(task_request("tasks/cancel", job_id), TaskAcknowledged)
                assert (await finished(client, job_id))["status"] == "succeeded"

    run(steps)


def test_a_job_that_broke_is_an_error_of_the_protocol(stack: RunningStack) -> None:
    async def steps() -> None:
        tasks = TaskClient()
        async with connect(Door(stack.url, stack.key), extensions=[tasks]) as client:
            with pytest.raises(MCPError, match="the plan can't go on") as caught:
                await client.call_tool("submit_squares", {"items": 3, "plan_fails_at": 0})
            job_id = tasks.created[0].task_id
            assert caught.value.code == INTERNAL_ERROR
            assert caught.value.data["code"] == "unexpected"
            assert caught.value.data["jobId"] == job_id
            for _ in range(2):  # also after a retry, which is broken in the same way
                state = await task_state(client.session, job_id)
                assert (state.status, state.result) == ("failed", None)
                assert state.error is not None
                assert state.error["data"]["code"] == "unexpected"
                await call(client, "retry_job", jobId=job_id)
                await finished(client, job_id)

    run(steps)


def test_a_routing_header_that_names_another_task_is_refused(http: httpx.Client) -> None:
    request = body("tasks/get", {"taskId": "job_1"})
    for headers in ({"Mcp-Name": "job_2"}, {}):
        answer = http.post("/mcp", json=request, headers={**MODERN, "Mcp-Method": "tasks/get", **headers})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, HEADER_MISMATCH)


@pytest.fixture
def second_url(stack: RunningStack, tmp_path: Path) -> Iterator[str]:
    """The address of another API process on the stack's servers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "api.app:create_app", "--factory", "--port", str(port)]
    environment = {
        "REDIS_URL": stack.redis_url,
        "MONGODB_URI": stack.mongodb_uri,
        "BACKLINE_API_KEY_FILE": str(stack.key_file),
    }
    part = Part("api", [*command, "--timeout-graceful-shutdown", "2"], tmp_path, environment)

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health/live", trust_env=False).is_success
        except httpx.TransportError:
            return False

    part.start()
    try:
        wait_until(answers, seconds=90, what="the second API")
        yield url
    finally:
        part.terminate()


def test_two_api_processes_share_a_task_and_a_wait(stack: RunningStack, second_url: str) -> None:
    async def steps() -> None:
        created = TaskClient()
        async with (
            connect(Door(stack.url, stack.key), extensions=[created]) as here,
            connect(Door(second_url, stack.key), extensions=[created]) as there,
        ):
            async with anyio.create_task_group() as tasks:

                async def submit() -> CallToolResult:
                    return await here.call_tool("submit_squares", {"items": 40, "seconds": 0.05})

                tasks.start_soon(submit)
                while not created.created:
                    await anyio.sleep(0.02)
                job_id = created.created[0].task_id
                assert (await task_state(there.session, job_id)).status == "working"
                assert (await finished(there, job_id))["status"] == "succeeded"
            here_state, there_state = await task_state(here.session, job_id), await task_state(there.session, job_id)
            assert here_state.result == there_state.result
            assert here_state.status == "completed"

    run(steps)


def test_a_bridge_from_standard_input_waits_for_an_api_that_comes_back_elsewhere(stack: RunningStack) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    addresses = [stack.url, away, away]  # where it is found, one look after the other, and then always where it was
    target = io.BytesIO()

    async def find() -> tuple[str, str]:
        return (addresses.pop(0) if addresses else stack.url), stack.key

    async def answered(number: int) -> Json:
        while True:
            for answer in map(json.loads, target.getvalue().splitlines()):
                if answer["id"] == number:
                    found: Json = answer
                    return found
            await anyio.sleep(0.02)

    async def steps() -> None:
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        async with httpx.AsyncClient(trust_env=False) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(Bridge(client, find, target).carry_all, lines, tasks.cancel_scope)
            for number in (1, 2):
                lines.put_nowait(json.dumps({**body("tools/list", {}), "id": number}).encode())
                assert (await answered(number))["result"]["tools"]
            lines.put_nowait(None)
        assert not addresses

    run(steps)
