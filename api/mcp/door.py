"""The server over streamable HTTP: every request stands by itself, so any replica may answer any of them.

Only an application whose tools ask older clients something gives that up: see `Additions.sessions`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.inbound import decode_header_value
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.access import visit
from api.mcp.additions import Additions
from api.mcp.server import all_tools, create_server
from api.mcp.tool import Provide
from api.mcp.wire import METHOD_HEADER, NAME_HEADER
from api.problems import on_backline_error, problem
from shared.access import Scope as AccessScope
from shared.errors import BacklineError
from shared.jobs.job import JobKind
from shared.settings import Settings

STREAMS_MAX = 64
"""Streams of older clients that listen for what this server never sends; each keeps a connection open for nothing."""
RETRY_AFTER_SECONDS = 60


class McpDoor:
    """An ASGI application for one path."""

    def __init__(
        self, kinds: Sequence[JobKind], settings: Settings, provide: Provide, additions: Additions | None = None
    ) -> None:
        more = additions or Additions()
        tools = all_tools(kinds, provide, more)
        self._scopes = {tool.name: tool.scope for tool in tools}
        self._server: MCPServer[Any] = create_server(tools, provide, more)
        self._server.streamable_http_app(
            stateless_http=not more.sessions,
            max_request_body_size=settings.max_body_bytes,
            # The gate before the whole application looks at host names and origins.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self._streams = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answer requests for the length of the block; once only."""
        async with self._server.session_manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            visit.principal(*self._scopes_needed(Headers(scope=scope)))
        except BacklineError as error:
            refused = await on_backline_error(Request(scope), error)
            await refused(scope, receive, send)
            return
        if scope["type"] == "http" and scope["method"] == "GET":
            await self._listen(scope, receive, send)
        else:
            await self._server.session_manager.handle_request(scope, receive, send)

    def _scopes_needed(self, headers: Headers) -> tuple[AccessScope, ...]:
        """Return what a request needs, as far as its headers tell, so that a client is told by HTTP what it lacks.

        The tools look again: headers came with the protocol of 2026-07-28, and say what proxies are to believe.
        """
        if headers.get(METHOD_HEADER) != "tools/call":
            return ()
        name = decode_header_value(headers.get(NAME_HEADER)) or ""
        if name not in self._scopes:
            return ()
        visit.current().action = name
        return (self._scopes[name],)

    async def _listen(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams >= STREAMS_MAX:
            refused = problem(
                Request(scope),
                status=503,
                code="too_many_streams",
                detail=f"{STREAMS_MAX} clients listen already.",
                advice="Go on without listening: every answer comes with its own request.",
                headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            )
            await refused(scope, receive, send)
            return
        self._streams += 1
        try:
            await self._server.session_manager.handle_request(scope, receive, send)
        finally:
            self._streams -= 1
