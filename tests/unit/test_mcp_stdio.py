"""The bridge between standard input and an API, where the API is away or a message makes no sense."""

from __future__ import annotations

import asyncio
import io
import json

import anyio
import httpx

from api.mcp.stdio import Bridge
from shared.errors import ServiceUnavailable
from shared.model import Json
from tests.machine import free_port
from tests.mcp_client import run


def answers_to(lines: list[bytes], *, url: str | None) -> list[Json]:
    """Return what a client reads that says these lines and leaves."""
    target = io.BytesIO()

    async def find() -> tuple[str, None]:
        if url is None:
            raise ServiceUnavailable("Nothing could be started.")
        return url, None

    async def steps() -> None:
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        for line in (*lines, None):
            queue.put_nowait(line)
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(20):
            await Bridge(http, find, target).carry_all(queue, anyio.CancelScope())

    run(steps)
    return [json.loads(line) for line in target.getvalue().splitlines()]


def request(number: int) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/list"}).encode()


def test_where_nothing_answers_each_request_is_told_so_and_a_notification_is_not() -> None:
    notice = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
    url = f"http://127.0.0.1:{free_port()}"
    answers = answers_to([request(1), notice, request(2)], url=url)
    assert sorted(answer["id"] for answer in answers) == [1, 2]
    assert all(f"No Backline answers at {url}." in answer["error"]["message"] for answer in answers)


def test_what_could_not_be_started_is_told_with_what_to_do() -> None:
    [answer] = answers_to([request(1)], url=None)
    assert answer["error"]["message"].startswith("service_unavailable: Nothing could be started. Try again")


def test_lines_that_make_no_sense_are_refused_and_answers_dropped() -> None:
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode()
    found = answers_to([b"{", b"\n", b"[]", b'"text"', answer], url=None)
    assert [(one["id"], one["error"]["code"]) for one in found] == [(None, -32700), (None, -32600), (None, -32600)]
