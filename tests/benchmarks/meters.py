"""What the kernel says of a process: its processor time and its memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
KIB = 1024

CpuSeconds = Mapping[str, float]  # by the name of a part


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and of all its children, those that have ended included."""
    own = sum(int(field) for field in _stat(pid)[11:15])  # utime, stime, cutime, cstime
    total = own / TICK
    for child in _children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # one that ended meanwhile counts with its parent
            total += cpu_seconds(child)
    return total


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name, which may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held since it began, or since `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * KIB


def forget_peak(pid: int) -> None:
    """Let a process's peak start again from what it holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
