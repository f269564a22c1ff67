"""When a schedule is due: cron expressions and intervals, in a timezone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from shared.errors import InvalidSchedule

SHORTEST_INTERVAL_SECONDS = 1.0


def check_timing(*, cron: str | None, every_seconds: float | None, timezone: str) -> None:
    """Raise `InvalidSchedule` unless exactly one of `cron` and `every_seconds` is given, and can be understood."""
    if (cron is None) == (every_seconds is None):
        raise InvalidSchedule("Give either a cron expression or an interval in seconds.")
    if every_seconds is not None and not SHORTEST_INTERVAL_SECONDS <= every_seconds <= 366 * 86400:
        raise InvalidSchedule("The interval must be between one second and 366 days.")
    _zone(timezone)
    next_slot(cron=cron, every_seconds=every_seconds, timezone=timezone, after=datetime.now(UTC))


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSchedule(f"There is no timezone {timezone!r}; one is 'Europe/Berlin'.") from None


def next_slot(*, cron: str | None, every_seconds: float | None, timezone: str, after: datetime) -> datetime:
    """Return the first moment, in UTC, at which a schedule is due behind `after`.

    A cron expression is read in `timezone`, daylight saving included. Raises `InvalidSchedule`.
    """
    if cron is None:
        return after + timedelta(seconds=every_seconds or SHORTEST_INTERVAL_SECONDS)
    zone = _zone(timezone)
    try:
        return next(CronSim(cron, after.astimezone(zone))).astimezone(UTC)
    except CronSimError as error:
        raise InvalidSchedule(f"The cron expression {cron!r} can't be understood: {error}.") from None
    except StopIteration:
        raise InvalidSchedule(f"The cron expression {cron!r} is never due.") from None
