"""The HTTP server of an API that waits most of the time: ``python -m api.server --port 8765``."""

from __future__ import annotations

import argparse
import sys

import uvicorn

from api.app import create_app
from shared import logs
from shared.serving import serve
from shared.settings import settings_with_servers
from shared.startup import refused_in_one_line

GRACE_SECONDS = 3
"""Event streams stay open as long as their job; a stop must not wait for them."""


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
    sys.exit(serve(config))


if __name__ == "__main__":
    main()
