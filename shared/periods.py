"""Spans of time that analytics look at, and what they are cut into."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from shared.errors import NotOffered
from shared.model import Json

DAYS_MAX = 365
HOURLY_DAYS_MAX = 90
ALL = "all"
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
"""What is dated before it is dated wrongly; a date that no calendar holds, or a series of two thousand years, helps
nobody."""


class Granularity(StrEnum):
    """The length of one step of a series; weeks begin on Monday, everything is UTC."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True)
class Period:
    """The time from `start` on, up to `stop` and without it; without a start, everything before `stop` since 1970."""

    start: datetime | None
    stop: datetime

    @property
    def before(self) -> Period | None:
        """The period of the same length that ends where this one begins; None where this one has no beginning."""
        if self.start is None:
            return None
        return Period(start=self.start - (self.stop - self.start), stop=self.start)

    def matches(self, field: str) -> Json:
        """Return the filter that keeps the documents whose moment in a field lies in this period."""
        return {field: {"$gte": self.start or EARLIEST, "$lt": self.stop}}


def next_hour(moment: datetime) -> datetime:
    """Return the end of the hour that a moment lies in."""
    return moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def checked_timeframe(text: str) -> str:
    """Return a timeframe that there is. Raises `NotOffered`."""
    found = re.fullmatch(r"([1-9][0-9]{0,2})d", text)
    if text != ALL and not (found and int(found[1]) <= DAYS_MAX):
        raise NotOffered(f"There is no timeframe {text[:40]!r}: it is 1d to {DAYS_MAX}d, or {ALL}.")
    return text


def checked_granularity(text: str, timeframe: str) -> Granularity:
    """Return a granularity that there is in a timeframe. Raises `NotOffered`."""
    try:
        found = Granularity(text)
    except ValueError:
        known = ", ".join(Granularity)
        raise NotOffered(f"There is no granularity {text[:40]!r}: those are {known}.") from None
    if found is Granularity.HOUR and (timeframe == ALL or int(timeframe[:-1]) > HOURLY_DAYS_MAX):
        raise NotOffered(f"The granularity hour is for timeframes up to {HOURLY_DAYS_MAX}d; else day, week, month.")
    return found


def period_of(timeframe: str, stop: datetime) -> Period:
    """Return the period that a timeframe stands for, up to a moment."""
    return Period(start=None if timeframe == ALL else stop - timedelta(days=int(timeframe[:-1])), stop=stop)


def truncation(field: str, granularity: Granularity) -> Json:
    """Return the expression for the beginning of the step that a moment lies in."""
    week = {"startOfWeek": "monday"} if granularity is Granularity.WEEK else {}
    return {"$dateTrunc": {"date": f"${field}", "unit": granularity.value, **week}}


_STEPS: Mapping[Granularity, timedelta] = {
    Granularity.HOUR: timedelta(hours=1),
    Granularity.DAY: timedelta(days=1),
    Granularity.WEEK: timedelta(weeks=1),
}


def begin_of(moment: datetime, granularity: Granularity) -> datetime:
    """Return the beginning of the step that a moment lies in."""
    moment = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if granularity is Granularity.HOUR:
        return moment
    day = moment.replace(hour=0)
    if granularity is Granularity.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if granularity is Granularity.WEEK else day


def step_after(moment: datetime, granularity: Granularity) -> datetime:
    """Return the beginning of the step behind the one that begins at a moment."""
    if granularity is Granularity.MONTH:
        return (moment.replace(day=28) + timedelta(days=4)).replace(day=1)
    return moment + _STEPS[granularity]


def steps(first: datetime, stop: datetime, granularity: Granularity) -> Iterator[datetime]:
    """Yield the beginnings of the steps from the one of `first` on, before `stop`."""
    moment = begin_of(first, granularity)
    while moment < stop:
        yield moment
        moment = step_after(moment, granularity)
