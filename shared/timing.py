"""When a schedule is due: cron expressions and intervals, in a timezone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from shared.errors import InvalidSchedule, UnknownTimezone

SHORTEST_INTERVAL_SECONDS = 1.0
LONGEST_INTERVAL_SECONDS = 366 * 86400.0
CRON_FIELDS = 5  # cronsim would take a sixth, for seconds, which is finer than schedules are looked at


def check_timing(*, cron: str | None, every_seconds: float | None, timezone: str) -> None:
    """Raise `InvalidSchedule` unless exactly one of `cron` and `every_seconds` is given, and can be understood."""
    _zone(timezone)
    next_slot(cron=cron, every_seconds=every_seconds, timezone=timezone, after=datetime.now(UTC))


def next_slot(
    *,
    cron: str | None,
    every_seconds: float | None,
    timezone: str,
    after: datetime,
    slot: datetime | None = None,
) -> datetime:
    """Return the first moment, in UTC, at which a schedule is due behind `after`.

    A cron expression is read in `timezone`, daylight saving included: a time of day that the clocks skip is due
    when they have jumped, and one that comes twice is due the first time only. Intervals are counted from `slot`, the
    one that was due last, or from `after` where there is none. Raises `InvalidSchedule`.
    """
    if (cron is None) == (every_seconds is None):
        raise InvalidSchedule("Give either a cron expression or an interval in seconds.")
    if cron is not None:
        return _next_of_cron(cron, after.astimezone(_zone(timezone)))
    assert every_seconds is not None
    return _next_of_interval(every_seconds, after, slot or after)


def _zone(timezone: str) -> ZoneInfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownTimezone(f"There is no time zone {timezone!r}.") from None


def _next_of_interval(every_seconds: float, after: datetime, slot: datetime) -> datetime:
    if not SHORTEST_INTERVAL_SECONDS <= every_seconds <= LONGEST_INTERVAL_SECONDS:
        raise InvalidSchedule("The interval must be between one second and 366 days.")
    # In whole milliseconds, which is what MongoDB keeps, or the slots would drift.
    interval = timedelta(milliseconds=round(every_seconds * 1000))
    return slot + max((after - slot) // interval + 1, 1) * interval


def _next_of_cron(cron: str, after: datetime) -> datetime:
    if len(cron.split()) != CRON_FIELDS:
        raise InvalidSchedule(f"The cron expression {cron!r} must have {CRON_FIELDS} fields.")
    try:
        # In the hour that comes twice in autumn, the first that cronsim finds may lie an hour back.
        slots = (slot.astimezone(UTC) for slot in CronSim(cron, after))
        return next(slot for slot in slots if slot > after)
    except CronSimError as error:
        raise InvalidSchedule(f"The cron expression {cron!r} can't be understood: {error}.") from None
    except StopIteration:
        raise InvalidSchedule(f"The cron expression {cron!r} is never due.") from None
