"""A page on this machine's loopback that a browser is sent back to, once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Self, cast
from urllib.parse import parse_qsl, urlsplit

HOST = "127.0.0.1"
PATH = "/callback"
READ_SECONDS = 5.0  # how long a browser may take over one request
DONE = (
    b"<!doctype html><meta charset=utf-8><title>Backline</title><p>You can close this page and go back to the terminal."
)


class Listener:
    """Listens for the browser that comes back with the right state; whoever else calls is told nothing."""

    def __init__(self, server: HTTPServer) -> None:
        """Take a server that listens already."""
        self._server = server

    @property
    def redirect_uri(self) -> str:
        """Where the browser is to be sent."""
        return f"http://{HOST}:{self._server.server_port}{PATH}"

    def __enter__(self) -> Self:
        """Return the listener itself; leaving stops it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._server.server_close()

    def wait(self, state: str, *, seconds: float) -> Mapping[str, str] | None:
        """Return what the browser brought along with this state, or None when nobody came in time."""
        waiting = cast(Any, self._server)
        waiting.state, waiting.brought = state, None
        deadline = time.monotonic() + seconds
        while waiting.brought is None and (left := deadline - time.monotonic()) > 0:
            self._server.timeout = left
            self._server.handle_request()
        brought: Mapping[str, str] | None = waiting.brought
        return brought


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_SECONDS

    def do_GET(self) -> None:
        """Take what the browser brings, if it is the one that is waited for."""
        place = urlsplit(self.path)
        query = dict(parse_qsl(place.query))
        waiting = cast(Any, self.server)
        is_ours = place.path == PATH and query.get("state") == waiting.state and ("code" in query or "error" in query)
        self.send_response(200 if is_ours else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(DONE) if is_ours else 0))
        self.end_headers()
        if is_ours:
            self.wfile.write(DONE)
            waiting.brought = query

    def log_message(self, *_: Any) -> None:
        """Keep the code out of the terminal."""


def listening(port: int = 0) -> Listener:
    """Listen on a port of loopback, any free one for 0. Raises `OSError` where it is taken."""
    return Listener(HTTPServer((HOST, port), _Handler))
