"""Backline's own application, with the fixtures behind its MCP door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.mcp.additions import Additions
from api.mcp.tool import JobTool, Provide
from tests.conformance.asking import asking_tools
from tests.conformance.questions import Questions
from tests.conformance.reading import install
from tests.conformance.tools import answering_tools

HEADERS: Sequence[tuple[bytes, bytes]] = ()
"""What every request is given on its way in, for clients that can't send it themselves."""


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


def create() -> ASGIApp:
    """Return the application with its door as it is always: no sessions, any process answers anything."""
    return WithHeaders(create_app(additions=FIXTURES), HEADERS)


def create_with_sessions() -> ASGIApp:
    """Return the application as it is where tools ask older clients something."""
    return WithHeaders(create_app(additions=replace(FIXTURES, sessions=True)), HEADERS)
