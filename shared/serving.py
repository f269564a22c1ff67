"""The HTTP server of a process that waits most of the time."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
from contextlib import suppress
from types import FrameType

import uvicorn

TICK_SECONDS = 1.0
"""Uvicorn's `Date` header is as old as this at most."""

OPEN_FILES = 65_536

STARTUP_FAILED = 3
"""The exit status of uvicorn itself where it could not start."""


def keep_for_good() -> None:
    """Keep collections of garbage from what is there by now: to go through it holds all requests up for 50 to 80 ms."""
    gc.collect()
    gc.freeze()


class CalmServer(uvicorn.Server):
    """Uvicorn without its ten looks a second at whether it should stop: half of what an idle server costs."""

    _loop: asyncio.AbstractEventLoop
    _asked: asyncio.Event

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve; what has been loaded stays."""
        await super().startup(sockets)
        keep_for_good()

    async def main_loop(self) -> None:
        """Serve until a signal, waking up once a second."""
        self._loop, self._asked = asyncio.get_running_loop(), asyncio.Event()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._asked.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal as uvicorn does, and act on it at once."""
        super().handle_exit(sig, frame)
        if hasattr(self, "_loop"):  # not during the start
            self._loop.call_soon_threadsafe(self._asked.set)


def allow_open_files() -> None:
    """Let this process have as many files open as the machine allows: each client is one, an open index some twenty."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def shared_port(host: str, port: int) -> socket.socket:
    """Take a port that other processes of the same user may take as well; the kernel parts connections among those
    that listen (Linux). Raises `OSError`."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    taken = socket.socket(family, kind, protocol)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    taken.bind(address)
    return taken


def serve(config: uvicorn.Config, *, sockets: list[socket.socket] | None = None) -> int:
    """Serve until a signal, on sockets in place of the configured address where any are given; return the exit status
    of the process."""
    allow_open_files()
    server = CalmServer(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    return 0 if server.started else STARTUP_FAILED
