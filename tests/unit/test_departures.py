"""Work for those who have gone: it is cancelled where it waits, and never begun where it only stood in line."""

from __future__ import annotations

import asyncio
import socket
from threading import Event
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.departures import unless_gone
from shared.errors import ClientGone
from tests.api_server import Server
from tests.waiting import wait_until
from workers.search.desk import Desk


def test_work_ends_when_who_asked_has_gone_and_not_before() -> None:
    begun, ended, answered = Event(), Event(), Event()

    async def for_ever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def handler(request: Request) -> Response:
        try:
            await unless_gone(request.receive, for_ever())
        except ClientGone:
            answered.set()
        return Response()

    server = Server(Starlette(routes=[Route("/", handler)]))
    server.start()
    try:
        there = urlsplit(server.url)
        with socket.create_connection((there.hostname or "", there.port or 0)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert begun.wait(30)
            assert not ended.is_set()
        assert ended.wait(30)
        assert answered.wait(30)
    finally:
        server.stop()


@pytest.mark.parametrize(("fails", "status"), [(False, 200), (True, 418)])
def test_who_stays_has_the_answer_or_the_error(fails: bool, status: int) -> None:
    async def work() -> str:
        if fails:
            raise LookupError
        return "found"

    async def handler(request: Request) -> Response:
        try:
            return PlainTextResponse(await unless_gone(request.receive, work()))
        except LookupError:
            return Response(status_code=418)

    server = Server(Starlette(routes=[Route("/", handler)]))
    server.start()
    try:
        assert httpx.get(server.url, trust_env=False).status_code == status
    finally:
        server.stop()


def test_what_waits_for_a_thread_is_not_begun_for_who_has_gone() -> None:
    go_on, worked_on = Event(), []

    def search(name: str) -> str:
        go_on.wait(30)
        worked_on.append(name)
        return name

    async def steps() -> None:
        desk = Desk(threads=1, waiting_max=2, timeout_seconds=60, note=lambda at_work, waiting: None)
        first, second, third = (asyncio.create_task(desk.work(lambda name=name: search(name))) for name in "abc")  # type: ignore[misc]
        while desk.at_work < 3:
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        go_on.set()
        assert await first, await third
        while desk.at_work:
            await asyncio.sleep(0)
        desk.close()

    asyncio.run(steps())
    wait_until(lambda: worked_on == ["a", "c"])
