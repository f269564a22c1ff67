"""The search server: ``python -m workers.search --port 8766``, on loopback unless told otherwise."""

from __future__ import annotations

import argparse
import ipaddress
import sys

import uvicorn

from shared import logs, tracing
from shared.errors import WrongSetting
from shared.serving import serve, shared_port
from shared.settings import Settings, settings_with_servers
from shared.startup import refused_in_one_line
from workers.exposition import open_port
from workers.search.numbers import SearchNumbers
from workers.search.server import create_app

PORT = 8766
GRACE_SECONDS = 3
KEEP_ALIVE_SECONDS = 75
"""Longer than the API keeps an idle connection, so that it never sends into one that is being closed."""


def main() -> None:
    """Serve searches."""
    parser = argparse.ArgumentParser(prog="python -m workers.search", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument(
        "--number",
        type=int,
        help="which of several on one machine this is: they share the port, and each listens when it can search",
    )
    options = parser.parse_args()
    with refused_in_one_line():
        settings = settings_with_servers()
        refuse_open_door(options.host, settings)
        logs.set_up(settings)
        port = open_port(settings)
    folder = settings.metrics_dir or (None if port is None else port.folder)
    place = f"search-{options.port}" if options.number is None else f"search-{options.port}-{options.number}"
    config = uvicorn.Config(
        create_app(settings, SearchNumbers(folder, place), listens_when_ready=options.number is not None),
        host=options.host,
        port=options.port,
        log_level="warning",
        log_config=None,  # ours stands already
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    sockets = None if options.number is None else [shared_port(options.host, options.port)]
    with tracing.running(settings, "backline-search"):
        status = serve(config, sockets=sockets)
    if port is not None:
        port.close()
    sys.exit(status)


def refuse_open_door(host: str, settings: Settings) -> None:
    """Refuse to listen where others reach us without a token: they could name any owner. Raises `WrongSetting`."""
    if settings.search_token is None and not _is_loopback(host):
        raise WrongSetting(f"The search server will not listen on {host} without BACKLINE_SEARCH_TOKEN.")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()
