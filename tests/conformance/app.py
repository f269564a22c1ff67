"""Backline's own application, with the fixtures behind its MCP door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.mcp.additions import Additions
from api.mcp.tool import JobTool, Provide
from shared.keys import ensure_key_file
from shared.settings import get_settings
from tests.conformance.asking import asking_tools
from tests.conformance.questions import Questions
from tests.conformance.reading import install
from tests.conformance.tools import answering_tools


def _tools(provide: Provide) -> Sequence[JobTool]:
    return [*answering_tools(provide), *asking_tools(provide)]


FIXTURES = Additions(tools=_tools, install=install, inputs=Questions())


class WithHeaders:
    """An application whose requests come in with some headers more."""

    def __init__(self, app: ASGIApp, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._app, self._headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], *self._headers]}
        await self._app(scope, receive, send)


def _key() -> Sequence[tuple[bytes, bytes]]:
    """Return what every request is given on its way in, for clients that can't send it themselves."""
    path = get_settings().api_key_file
    assert path is not None
    return [(b"authorization", f"Bearer {ensure_key_file(path).text}".encode())]


def create() -> ASGIApp:
    """Return the application with its door as it is always: no sessions, any process answers anything."""
    return WithHeaders(create_app(additions=FIXTURES), _key())


def create_with_sessions() -> ASGIApp:
    """Return the application as it is where tools ask older clients something."""
    return WithHeaders(create_app(additions=replace(FIXTURES, sessions=True)), _key())
