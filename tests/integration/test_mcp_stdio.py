"""An assistant starts `backline mcp` itself and talks to it over standard input and output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult

from deploy.running import read_running_stack
from deploy.stack import RunningStack
from shared.jobs import known_kinds
from tests.machine import ROOT, die_with_parent, free_port
from tests.mcp_client import ERAS, CreatedTask, TaskClient, call, connect, run, task_state, text_of

eras = pytest.mark.parametrize("era", ERAS)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "api.cli.main", "mcp", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "BACKLINE_JOB_MODULES": "tests.kinds"}


def server(*arguments: str) -> StdioServerParameters:
    program, *rest = command(*arguments)
    return StdioServerParameters(command=program, args=rest, env=environment(), cwd=ROOT)


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(*arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=ROOT,
        preexec_fn=die_with_parent,
    )


def message(method: str, number: int, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


HELLO = {"protocolVersion": ERAS["legacy"], "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


async def submit(client: Client, **request: Any) -> str:
    """Submit a job and return its id, which a client that knows tasks gets as that of a task."""
    result = await client.session.call_tool("submit_squares", request, allow_claimed=True)
    if isinstance(result, CallToolResult):
        return str((result.structured_content or {})["id"])
    assert isinstance(result, CreatedTask)
    return result.task_id


@eras
def test_every_tool_works_as_over_http(stack: RunningStack, era: str) -> None:
    told: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async def steps() -> None:
        extensions = [TaskClient()] if era == "auto" else []
        async with connect(server("--url", stack.url, "--data", str(stack.data_dir)), era, extensions) as client:
            assert client.protocol_version == ERAS[era]
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert {"submit_squares", "extract_audio_features", "wait_for_job"} < names
            assert len((await call(client, "list_job_kinds"))["kinds"]) == len(known_kinds())
            job_id = await submit(client, userId=era, items=20, seconds=0.05, fails=[3])
            waited = await client.call_tool("wait_for_job", {"jobId": job_id}, progress_callback=on_progress)
            assert (waited.structured_content or {})["status"] == "partial"
            assert told
            assert (await call(client, "get_job", jobId=job_id))["id"] == job_id
            page = await call(client, "get_job_items", jobId=job_id, status=["failed"])
            assert [item["index"] for item in page["items"]] == [3]
            assert (await call(client, "list_jobs", userId=era, limit=1))["jobs"][0]["id"] == job_id
            assert (await call(client, "retry_job", jobId=job_id))["epoch"] == 1
            long = await submit(client, items=5000, seconds=0.1)
            assert (await call(client, "cancel_job", jobId=long))["cancelRequestedAt"] is not None
            await call(client, "add_schedule", name=f"s-{era}", kind="noop", request={}, everySeconds=9000)
            assert (await call(client, "pause_schedule", name=f"s-{era}"))["paused"] is True
            assert (await call(client, "list_schedules"))["schedules"]
            assert await call(client, "remove_schedule", name=f"s-{era}")
            unknown = await client.call_tool("get_job", {"jobId": "job_nowhere"})
            assert unknown.is_error
            assert text_of(unknown.content).startswith("job_not_found: ")
            assert (await client.read_resource(f"job://{job_id}")).contents
            assert (await client.get_prompt("check_my_database")).messages
            # A wait that is given up leaves the job alone.
            job_id = await submit(client, items=30, seconds=0.05)
            with anyio.move_on_after(0.2) as waiting:
                await client.call_tool("wait_for_job", {"jobId": job_id, "timeout": 50})
            assert waiting.cancelled_caught
            assert (await call(client, "wait_for_job", jobId=job_id, timeout=50))["status"] == "succeeded"
            if era == "auto":
                assert (await task_state(client.session, job_id)).status == "completed"

    run(steps)


def test_without_a_backline_one_is_started_and_stopped(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start("--data", str(data)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = [message("initialize", 1, **HELLO), b"no message\n", b"[]\n", message("tools/list", 2)]
        lines += [message("tools/call", 3, name="submit_noop", arguments={"items": 2})]
        process.stdin.write(b"".join(lines[:1]))
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        assert (first["id"], first["result"]["serverInfo"]["name"]) == (1, "backline")
        running = read_running_stack(data)
        assert running is not None
        out, err = process.communicate(b"".join(lines[1:]), timeout=60)
    answers = {answer["id"]: answer for answer in map(json.loads, out.splitlines())}
    assert set(answers) == {None, 2, 3}
    assert len(out.splitlines()) == 4
    assert answers[3]["result"]["structuredContent"]["kind"] == "noop"
    assert process.returncode == 0
    assert b"starting one" in err
    assert read_running_stack(data) is None
    assert not [pid for pid in running.parts.values() if Path(f"/proc/{pid}").exists()]


def test_a_signal_ends_it_although_nobody_closes_its_input() -> None:
    with start("--url", f"http://127.0.0.1:{free_port()}") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(message("initialize", 1, **HELLO))
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert answer["id"] == 1
    assert answer["error"]["message"].startswith("service_unavailable: No Backline answers at http://127.0.0.1:")
