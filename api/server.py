"""The HTTP server of an API that waits most of the time: ``python -m api.server --port 8765``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

TICK_SECONDS = 1.0
"""Uvicorn's `Date` header is as old as this at most."""

STARTUP_FAILED = 3  # the exit code of uvicorn itself

GRACE_SECONDS = 3
"""Event streams stay open as long as their job; a stop must not wait for them."""


class CalmServer(uvicorn.Server):
    """Uvicorn without its ten looks a second at whether it should stop: half of what an idle API costs."""

    _loop: asyncio.AbstractEventLoop
    _asked: asyncio.Event

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


def main() -> None:
    """Serve the API."""
    parser = argparse.ArgumentParser(prog="python -m api.server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    config = uvicorn.Config(
        "api.app:create_app",
        factory=True,
        host=options.host,
        port=options.port,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = CalmServer(config)
    with suppress(KeyboardInterrupt):
        server.run()
    sys.exit(0 if server.started else STARTUP_FAILED)


if __name__ == "__main__":
    main()
