"""The fixtures of the conformance suite, driven by the SDK's own client: what an application adds to the MCP door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_REQUEST,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from pydantic import FileUrl

from tests.conformance.stage import serving
from tests.machine import Machine
from tests.mcp_client import (
    ERAS,
    TaskAcknowledged,
    TaskClient,
    call,
    connect,
    finished,
    run,
    task_request,
    task_state,
    text_of,
)
from tests.waiting import STEP_SECONDS

AGREED = {"action": "accept", "content": {"confirm": True}}

eras = pytest.mark.parametrize("era", ERAS)


@pytest.fixture(scope="module")
def door(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application with the fixtures, as every application is: without sessions."""
    machine.heal()
    with serving(machine, tmp_path_factory.mktemp("door"), "create") as url:
        yield url


@pytest.fixture(scope="module")
def door_with_sessions(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same for clients that are asked something during a call."""
    machine.heal()
    with serving(machine, tmp_path_factory.mktemp("sessions"), "create_with_sessions") as url:
        yield url


async def _elicit(context: Any, params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada", "username": "ada", "email": "ada@example.org"})


async def _sample(context: Any, params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="none")


async def _roots(context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///music"))])


def answering(url: str, era: str, tasks: TaskClient | None = None) -> Client:
    """Return a client that answers whatever it is asked."""
    return Client(
        f"{url}/mcp",
        mode=era,
        extensions=[tasks] if tasks else None,
        elicitation_callback=_elicit,
        sampling_callback=_sample,
        list_roots_callback=_roots,
    )


@eras
def test_added_tools_resources_and_prompts_stand_beside_backlines_own(door: str, era: str) -> None:
    async def steps() -> None:
        async with connect(door, era) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert {"greet", "failing_job", "slow_compute", "wait_for_job", "list_jobs"} < set(tools)
            assert tools["greet"].output_schema is None
            assert text_of((await client.call_tool("greet", {"name": "Ada"})).content) == "Hello, Ada!"
            refused = await client.call_tool("greet", {"nmae": "Ada"})
            assert "invalid_request" in text_of(refused.content)
            uris = {str(one.uri) for one in (await client.list_resources()).resources}
            assert "test://static-text" in uris
            prompts = {one.name for one in (await client.list_prompts()).prompts}
            assert {"test_simple_prompt", "why_did_this_job_fail"} < prompts

    run(steps)


def test_slow_failing_and_broken_fixtures_are_real_jobs(door: str) -> None:
    async def steps() -> None:
        tasks = TaskClient()
        async with connect(door, extensions=[tasks]) as client, connect(door) as plain:
            slow = await client.call_tool("slow_compute", {"seconds": 1, "label": "here"})
            assert "Slept 1 s: here" in text_of(slow.content)
            failed = await client.call_tool("failing_job", {})
            assert failed.is_error
            with pytest.raises(MCPError, match="the plan is broken"):
                await client.call_tool("protocol_error_job", {})
            known = {job["id"] for job in (await call(plain, "list_jobs", limit=50))["jobs"]}
            assert {task.task_id for task in tasks.created} <= known
            with pytest.raises(MCPError) as caught:
                await plain.call_tool("failing_job", {})
            assert caught.value.code == MISSING_REQUIRED_CLIENT_CAPABILITY

    run(steps)


def test_a_job_that_asks_waits_as_a_task_and_goes_on_with_the_answer(door: str) -> None:
    async def steps() -> None:
        tasks = TaskClient(answer=AGREED)
        async with connect(door, extensions=[tasks]) as client:
            deleted = await client.call_tool("confirm_delete", {"filename": "old.flac"})
            assert "Deleted old.flac." in text_of(deleted.content)
            assert tasks.asked == ["Do you agree to old.flac (all)?"]

    run(steps)


def test_answers_may_come_one_by_one_and_only_the_first_to_a_question_counts(door: str) -> None:
    async def steps() -> None:
        async with connect(door, extensions=[TaskClient()]) as client:
            job_id = (await _submitted_plainly(door, "multi_input"))["id"]
            assert await _asked(client, job_id, questions=2) == {"first", "second"}
            for answers in ({"nobody": AGREED}, {"first": AGREED}, {"first": {"action": "decline"}}):
                update = task_request("tasks/update", job_id, inputResponses=answers)
                await client.session.send_request(update, TaskAcknowledged)
            state = await task_state(client.session, job_id)
            assert (state.status, set(state.input_requests or {})) == ("input_required", {"second"})
            update = task_request("tasks/update", job_id, inputResponses={"second": AGREED})
            await client.session.send_request(update, TaskAcknowledged)
            assert (await finished(client, job_id))["status"] == "succeeded"
            items = (await call(client, "get_job_items", jobId=job_id))["items"]
            assert [item["result"]["said"] for item in items] == [{"confirm": True}] * 2
            state = await task_state(client.session, job_id)
            assert (state.status, state.input_requests) == ("completed", None)

    run(steps)


async def _submitted_plainly(door: str, tool: str) -> dict[str, Any]:
    async with connect(door) as plain:
        return await call(plain, tool)


async def _asked(client: Client, job_id: str, *, questions: int = 1) -> set[str]:
    """Wait until the task asks so much, and return the keys of its questions."""
    while len((state := await task_state(client.session, job_id)).input_requests or {}) < questions:
        assert state.status == ("input_required" if state.input_requests else "working")
        await anyio.sleep(STEP_SECONDS)
    assert state.status == "input_required"
    return set(state.input_requests or {})


def test_a_job_that_asks_can_be_cancelled(door: str) -> None:
    async def steps() -> None:
        async with connect(door, extensions=[TaskClient()]) as client:
            job_id = (await _submitted_plainly(door, "multi_input"))["id"]
            assert await _asked(client, job_id)
            await client.session.send_request(task_request("tasks/cancel", job_id), TaskAcknowledged)
            assert (await finished(client, job_id))["status"] == "cancelled"
            state = await task_state(client.session, job_id)
            assert (state.status, state.input_requests) == ("cancelled", None)

    run(steps)


def test_a_tool_asks_by_its_result_and_then_submits_a_job(door: str) -> None:
    async def steps() -> None:
        tasks = TaskClient()
        async with answering(door, "auto", tasks) as client:
            greeted = await client.call_tool("test_tool_with_task", {})
            assert "Hello, Ada!" in text_of(greeted.content)
            assert len(tasks.created) == 1
            for tool, said in (("sampling", "Paris"), ("list_roots", "file:///music"), ("multiple_inputs", "All")):
                result = await client.call_tool(f"test_input_required_result_{tool}", {})
                assert said in text_of(result.content)

    run(steps)


def test_older_clients_can_be_asked_during_a_call_only_in_a_session(door: str, door_with_sessions: str) -> None:
    async def steps() -> None:
        async with answering(door_with_sessions, "legacy") as client:
            asked = await client.call_tool("test_elicitation", {"message": "Who are you?"})
            assert "ada@example.org" in text_of(asked.content)
            assert "Paris" in text_of((await client.call_tool("test_sampling", {"prompt": "France?"})).content)
        async with answering(door, "legacy") as client:
            with pytest.raises(MCPError) as caught:
                await client.call_tool("test_elicitation", {"message": "Who are you?"})
            assert caught.value.code == INVALID_REQUEST

    run(steps)
