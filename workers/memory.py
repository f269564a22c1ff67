"""The memory that a process holds."""

from __future__ import annotations

import os


def resident_mb() -> float:
    """Return the memory that this process holds, in MB."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0
