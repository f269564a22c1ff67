"""The HTTP server of an API that waits most of the time: ``python -m api.server --port 8765``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

from api.app import create_app
from shared import logs
from shared.settings import settings_with_servers
from shared.startup import refused_in_one_line

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
    with refused_in_one_line():
        settings = settings_with_servers()
    parser.add_argument("--host", default=settings.api_host)
    parser.add_argument("--port", type=int, default=settings.api_port)
    options = parser.parse_args()
    logs.set_up(settings)
    config = uvicorn.Config(
        # It must know where it listens: elsewhere than on loopback it wants keys or an issuer.
        create_app(settings.model_copy(update={"api_host": options.host, "api_port": options.port})),
        host=options.host,
        port=options.port,
        log_level="warning",
        log_config=None,  # ours stands already
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = CalmServer(config)
    with suppress(KeyboardInterrupt):
        server.run()
    sys.exit(0 if server.started else STARTUP_FAILED)


if __name__ == "__main__":
    main()
