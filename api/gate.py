"""Turns requests away before anything is parsed: wrong host names, strange pages, and bodies that are too long."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import on_http_exception

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]", "testserver")
"""Names that only this machine, or a test client, can call us by."""


def is_loopback(address: str) -> bool:
    """Whether nobody but this machine reaches what listens on an address."""
    return address in ("localhost", "::1") or address.startswith("127.")


class Gate:
    """A pure ASGI middleware, so that streams and waiting requests pass through without another task."""

    def __init__(
        self, app: ASGIApp, *, allowed_hosts: Collection[str], origins: Collection[str], max_body_bytes: int
    ) -> None:
        self._app = app
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._hosts = None if "*" in allowed_hosts else {*LOOPBACK_HOSTS, *(host.lower() for host in allowed_hosts)}
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(Headers(scope=scope))
        except HTTPException as error:
            response = await on_http_exception(Request(scope), error)
            await response(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _check(self, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        # A page on the web can make its own host name lead here, but it can't hide that name.
        if self._hosts is not None and _without_port(host) not in self._hosts:
            raise HTTPException(421, f"This service does not answer to the host name {host!r}.")
        self._check_origin(headers.get("origin"), host)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body_bytes:
            raise self._too_long()

    def _check_origin(self, origin: str | None, host: str) -> None:
        """Refuse a page of another origin, which a browser can't keep from saying where it is from."""
        if origin is None or origin.lower() in self._origins:
            return
        if not _is_own(origin.lower(), host):
            raise HTTPException(403, f"Pages of the origin {origin[:200]!r} may not call this service.")

    def _counted(self, receive: Receive) -> Receive:
        """Return a `receive` that fails once the body is too long, whatever its length was said to be."""
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_body_bytes:
                    raise self._too_long()
            return message

        return counting

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"The body is longer than {self._max_body_bytes} bytes.")


def _is_own(origin: str, host: str) -> bool:
    """Whether a page comes from here: from the very same host and port, by whichever of this machine's own names."""
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https"):
        return False
    name, asked = _without_port(parts.netloc), _without_port(host)
    is_same_name = name == asked or (name in LOOPBACK_HOSTS and asked in LOOPBACK_HOSTS)
    return is_same_name and parts.netloc.removeprefix(name) == host.removeprefix(asked)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host
