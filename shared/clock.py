"""Time and identity: the two things that every record starts with."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime


def now() -> datetime:
    """Return the present in UTC, cut to the millisecond that MongoDB keeps."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def milliseconds_since(started: float) -> float:
    """Return the milliseconds since `started`, a reading of `time.perf_counter`, to a hundredth.

    A server on the same machine answers within a few hundredths.
    """
    return round((time.perf_counter() - started) * 1000, 2)


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``job_0193…``; ids of one prefix sort by the time they were made."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
