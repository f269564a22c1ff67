"""What the door for assistants turns away, and what it says while a server is down."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import (
    PromptReference,
)

from api.mcp.door import STREAMS_MAX
from deploy.stack import RunningStack
from shared.errors import (
    ServiceUnavailable,
)
from tests.api_server import serving
from tests.environment import environment_of
from tests.machine import free_port
from tests.mcp_client import (
    MODERN,
    Door,
    body,
    call,
    connect,
    refused,
    run,
)
from tests.waiting import wait_until


def test_while_mongodb_is_away_every_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    away = {
        "MONGODB_URI": f"mongodb://127.0.0.1:{free_port()}/?directConnection=true&serverSelectionTimeoutMS=500",
        "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }

    async def steps(door: Door) -> None:
        async with connect(door) as client:
            assert (await call(client, "list_job_kinds"))["kinds"]
            for tool, arguments in (("submit_noop", {"items": 1}), ("wait_for_job", {"jobId": "a"}), ("list_jobs", {})):
                assert (await refused(client, tool, **arguments))["code"] == ServiceUnavailable.code
            with pytest.raises(MCPError, match=ServiceUnavailable.code):
                await client.read_resource("job://a")
            prompt = PromptReference(type="ref/prompt", name="why_did_this_job_fail")
            completed = await client.complete(prompt, {"name": "jobId", "value": ""})
            assert completed.completion.values == []

    with environment_of(monkeypatch, away) as settings, serving(settings) as api:
        key = api.headers["Authorization"].removeprefix("Bearer ")
        run(lambda: steps(Door(str(api.base_url).rstrip("/"), key)))


def test_other_hosts_and_pages_of_other_origins_are_refused(http: httpx.Client) -> None:
    request = body("tools/list", {})
    headers = {**MODERN, "Mcp-Method": "tools/list"}
    port = http.base_url.port
    assert http.post("/mcp", json=request, headers=headers).status_code == 200
    for origin in (f"http://localhost:{port}", f"http://127.0.0.1:{port}"):
        assert http.post("/mcp", json=request, headers={**headers, "Origin": origin}).status_code == 200
    assert http.post("/mcp", json=request, headers={**headers, "Origin": "https://evil.example"}).status_code == 403
    assert http.post("/mcp", json=request, headers={**headers, "Host": "evil.example"}).status_code == 421
    assert http.post("/mcp", json=request, headers={**headers, "Content-Type": "text/plain"}).status_code == 400


def test_names_of_hosts_have_no_case(http: httpx.Client) -> None:
    request = body("tools/list", {})
    headers = {**MODERN, "Mcp-Method": "tools/list"}
    port = http.base_url.port
    for name in ("LOCALHOST", "LocalHost"):
        named = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}"}
        assert http.post("/mcp", json=request, headers={**headers, **named}).status_code == 200
    assert http.post("/mcp", json=request, headers={**headers, "Host": "EVIL.example"}).status_code == 421


def test_a_body_that_is_too_long_is_refused(http: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 1024 * 1024

    headers = {**MODERN, "Mcp-Method": "tools/list", "Content-Type": "application/json"}
    assert http.post("/mcp", content=b" " * 9 * 1024 * 1024, headers=headers).status_code == 413
    assert http.post("/mcp", content=endless(), headers=headers).status_code == 413


def test_clients_that_listen_for_nothing_are_limited_in_number(stack: RunningStack) -> None:
    address = urlsplit(stack.url)
    lines = ("GET /mcp HTTP/1.1", f"Host: {address.netloc}", "Accept: text/event-stream")
    head = "\r\n".join([*lines, f"Authorization: Bearer {stack.key}", "", ""]).encode()

    def status(sockets: ExitStack) -> int:
        connection = sockets.enter_context(socket.create_connection((address.hostname, address.port), timeout=10))
        connection.sendall(head)
        return int(connection.recv(1024).split()[1])

    with ExitStack() as sockets:
        assert {status(sockets) for _ in range(STREAMS_MAX)} == {200}
        assert status(sockets) == 503
    with ExitStack() as sockets:
        wait_until(lambda: status(sockets) == 200, what="a free place")
