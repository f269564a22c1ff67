"""The outermost layer: it times each request, counts it by its route, and gives it an id."""

from __future__ import annotations

import re
import secrets
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.mcp.wire import PATH as MCP_PATH
from api.metrics.counted import Counted
from shared import logs

UNMATCHED = "unmatched"
"""The route of a request for which there is none: what it asked for is anybody's choice, so it is no label."""
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
CUT_OFF = 499
"""The status of a request whose client went away before it was answered (nginx's number)."""

REQUEST_ID = b"x-request-id"
ID_BYTES = 8
ACCEPTED_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
"""What a proxy before us may call a request; anything else is replaced, for it goes into logs."""


class Observed:
    """A pure ASGI middleware; it costs some microseconds and never touches a body."""

    def __init__(self, app: ASGIApp, *, counted: Counted) -> None:
        self._app, self._counted = app, counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it once it is answered, however that goes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status = CUT_OFF

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id)]
            await send(message)

        counted, started = self._counted, perf_counter()
        counted.open.inc()
        try:
            with logs.about(request=request_id.decode("ascii")):
                await self._app(scope, receive, observed_send)
        finally:
            counted.open.dec()
            method = scope["method"]
            counted.answered(
                method if method in METHODS else "other", _route_of(scope), status, perf_counter() - started
            )


def _route_of(scope: Scope) -> str:
    route = scope.get("route")
    if route is not None:
        return str(route.path)
    return MCP_PATH if scope["path"] == MCP_PATH else UNMATCHED


def _request_id(scope: Scope) -> bytes:
    """Return what a proxy calls the request, or a new id."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID and ACCEPTED_ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(ID_BYTES).encode()
