"""The name of what shares our process ids."""

from __future__ import annotations

import os
import socket


def host_name() -> str:
    """Return a name for everything that shares our process ids: the host and its process namespace."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        namespace = 0
    return f"{socket.gethostname()}.{namespace:x}"
