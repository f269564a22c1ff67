"""Loopback ports that stay ours: a part that is restarted must get the same one again."""

from __future__ import annotations

import random
import socket

from deploy.errors import PortInUse

LOOPBACK = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections (32768 on Linux, 49152
# elsewhere), so that none of those sits on our port at the moment of a restart.
FIRST, LAST = 20_000, 32_000

_given: set[int] = set()  # handed out by this process, but perhaps not listened on yet


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that nobody listens on."""
    for port in random.sample(range(FIRST, LAST), k=200):
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise PortInUse(f"No free port was found between {FIRST} and {LAST}.")


def choose(port: int) -> int:
    """Return `port` if it is free, or any free one for 0.

    Raises:
        PortInUse: somebody listens on it.
    """
    if port == 0:
        return free_port()
    if not is_free(port):
        raise PortInUse(f"Port {port} on {LOOPBACK} is in use, or may not be used by this user.")
    return port
