"""The server over streamable HTTP: every request stands by itself, so any replica may answer any of them.

Only an application whose tools ask older clients something gives that up: see `Additions.sessions`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.mcp.additions import Additions
from api.mcp.server import create_server
from api.mcp.tool import Provide
from api.problems import problem
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
        self._server: MCPServer[Any] = create_server(kinds, provide, additions)
        self._server.streamable_http_app(
            stateless_http=not (additions and additions.sessions),
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
        if scope["type"] == "http" and scope["method"] == "GET":
            await self._listen(scope, receive, send)
        else:
            await self._server.session_manager.handle_request(scope, receive, send)

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
