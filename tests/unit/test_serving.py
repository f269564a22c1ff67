"""The HTTP server that the API and the search server run in."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from threading import Thread

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from deploy.ports import LOOPBACK
from shared.serving import CalmServer
from tests.machine import free_port
from tests.waiting import wait_until


@pytest.fixture
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_thawed")
def test_collections_of_garbage_pass_over_what_was_there_at_the_start() -> None:
    async def kept(_: Request) -> JSONResponse:
        return JSONResponse(gc.get_freeze_count())

    port = free_port()
    config = uvicorn.Config(Starlette(routes=[Route("/", kept)]), host=LOOPBACK, port=port, log_level="warning")
    server = CalmServer(config)
    thread = Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started, what="the start")

    assert httpx.get(f"http://{LOOPBACK}:{port}/", trust_env=False).json() > 10_000

    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
