"""When schedules are due, across timezones and both changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from shared.errors import InvalidSchedule
from shared.timing import check_timing, next_slot

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def at(text: str) -> datetime:
    """Return a moment in UTC, such as ``2026-11-21 12:00``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def of_cron(cron: str, after: datetime, *, timezone: str = "UTC") -> datetime:
    return next_slot(cron=cron, every_seconds=None, timezone=timezone, after=after)


def of_interval(seconds: float, after: datetime, *, slot: datetime | None = None) -> datetime:
    return next_slot(cron=None, every_seconds=seconds, timezone="UTC", after=after, slot=slot)


def slots_of(cron: str, timezone: str, first: str, last: str) -> list[str]:
    """Return the times, in UTC, from `first` to `last` at which a schedule is due."""
    found = [at(first) - timedelta(seconds=1)]
    while (slot := of_cron(cron, found[-1], timezone=timezone)) <= at(last):
        found.append(slot)
    return [f"{slot:%d %H:%M}" for slot in found[1:]]


# Cron expressions


@pytest.mark.parametrize(
    ("cron", "timezone", "after", "expected"),
    [
        ("0 2 * * *", "UTC", "2026-11-21 01:59", "2026-11-21 02:00"),
        ("0 2 * * *", "UTC", "2026-11-21 02:00", "2026-11-22 02:00"),
        ("0 2 * * *", BERLIN, "2026-11-21 12:00", "2026-11-22 01:00"),
        ("0 2 * * *", BERLIN, "2026-07-21 12:00", "2026-07-22 00:00"),
        ("0 2 * * *", NEW_YORK, "2026-11-21 12:00", "2026-11-22 07:00"),
        ("30 9 * * *", "Asia/Kathmandu", "2026-11-21 12:00", "2026-11-22 03:45"),
        ("0 2 * * sun", BERLIN, "2026-11-21 12:00", "2026-11-22 01:00"),
        ("0 0 l * *", "UTC", "2026-11-21 12:00", "2026-11-30 00:00"),
        ("*/15 * * * *", "Asia/Kathmandu", "2026-11-21 12:01", "2026-11-21 12:15"),
        ("*/15 * * * *", BERLIN, "2026-11-21 12:45:00.001", "2026-11-21 13:00"),
        ("0 12 29 2 *", "UTC", "2026-11-21 12:00", "2028-02-29 12:00"),
        ("0 12 29 2 *", BERLIN, "2096-03-01 00:00", "2104-02-29 11:00"),
    ],
)
def test_a_cron_expression_is_read_in_its_timezone(cron: str, timezone: str, after: str, expected: str) -> None:
    assert of_cron(cron, at(after), timezone=timezone) == at(expected)


@pytest.mark.parametrize(
    ("cron", "timezone", "night", "expected"),
    [
        # In Berlin, 02:00 became 03:00 at 01:00 UTC.
        ("30 2 * * *", BERLIN, "2026-03-29", ["29 01:00"]),
        ("30 3 * * *", BERLIN, "2026-03-29", ["29 01:30"]),
        ("15,45 2 * * *", BERLIN, "2026-03-29", ["29 01:00"]),
        ("0 * * * *", BERLIN, "2026-03-29", ["29 00:00", "29 01:00", "29 02:00", "29 03:00"]),
        (
            "*/30 * * * *",
            BERLIN,
            "2026-03-29",
            [f"29 0{hour}:{minute}" for hour in range(4) for minute in ("00", "30")],
        ),
        # In New York, 02:00 became 03:00 at 07:00 UTC.
        ("30 2 * * *", NEW_YORK, "2026-03-08", ["08 07:00"]),
        ("0 * * * *", NEW_YORK, "2026-03-08", [f"08 {hour:02}:00" for hour in range(4, 9)]),
    ],
)
def test_a_time_that_the_clocks_skip_is_due_once_they_have_jumped(
    cron: str, timezone: str, night: str, expected: list[str]
) -> None:
    first, last = ("00:00", "03:59") if timezone == BERLIN else ("04:00", "08:59")
    assert slots_of(cron, timezone, f"{night} {first}", f"{night} {last}") == expected


@pytest.mark.parametrize(
    ("cron", "timezone", "night", "expected"),
    [
        # In Berlin, 03:00 became 02:00 at 01:00 UTC.
        ("30 2 * * *", BERLIN, "2026-10-25", ["25 00:30"]),
        ("30 3 * * *", BERLIN, "2026-10-25", ["25 02:30"]),
        (
            "*/30 * * * *",
            BERLIN,
            "2026-10-25",
            [f"25 0{hour}:{minute}" for hour in range(3) for minute in ("00", "30")],
        ),
        ("15,45 * * * *", BERLIN, "2026-10-25", [f"25 0{hour}:{minute}" for hour in range(3) for minute in (15, 45)]),
        # In New York, 02:00 became 01:00 at 06:00 UTC.
        ("30 1 * * *", NEW_YORK, "2026-11-01", ["01 05:30"]),
        ("0 * * * *", NEW_YORK, "2026-11-01", ["01 05:00", "01 06:00", "01 07:00"]),
    ],
)
def test_a_time_that_comes_twice_is_due_once_and_what_is_due_every_hour_goes_on(
    cron: str, timezone: str, night: str, expected: list[str]
) -> None:
    first, last = ("00:00", "02:59") if timezone == BERLIN else ("05:00", "07:59")
    assert slots_of(cron, timezone, f"{night} {first}", f"{night} {last}") == expected


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 0-23 * * *", "*/7 * * * *", "15,45 1-3 * * *", "0 2 * * sun"])
@pytest.mark.parametrize(
    ("timezone", "midnight"),
    [
        (BERLIN, "2026-10-25 00:00"),
        (BERLIN, "2026-03-29 00:00"),
        (NEW_YORK, "2026-11-01 04:00"),
        (NEW_YORK, "2026-03-08 05:00"),
        ("Australia/Lord_Howe", "2026-04-04 13:30"),
    ],
)
def test_the_next_slot_is_always_behind_and_never_moves_back(cron: str, timezone: str, midnight: str) -> None:
    moments = [at(midnight) + timedelta(minutes=minute) for minute in range(0, 300, 3)]
    slots = [of_cron(cron, moment, timezone=timezone) for moment in moments]

    assert all(slot > moment for slot, moment in zip(slots, moments, strict=True))
    assert all(one <= other for one, other in pairwise(slots))


# Intervals


@pytest.mark.parametrize(
    ("seconds", "after", "expected"),
    [
        (10, "12:00:00", "12:00:10"),
        (10, "12:00:04", "12:00:10"),
        (10, "12:00:09.999", "12:00:10"),
        (10, "12:00:10", "12:00:20"),
        (10, "12:07:33", "12:07:40"),
        (1.5, "12:00:04", "12:00:04.500"),
        (1 / 3 + 1, "12:00:04", "12:00:05.332"),
        (10, "11:59:00", "12:00:10"),  # by a clock that went back
    ],
)
def test_an_interval_is_counted_from_the_last_slot(seconds: float, after: str, expected: str) -> None:
    slot = at("2026-11-21 12:00:00")
    assert of_interval(seconds, at(f"2026-11-21 {after}"), slot=slot) == at(f"2026-11-21 {expected}")


def test_the_first_slot_of_an_interval_is_one_interval_away() -> None:
    assert of_interval(3600, at("2026-11-21 12:34:56")) == at("2026-11-21 13:34:56")


# What makes no sense


@pytest.mark.parametrize(
    "cron",
    [
        "", "now and then", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
        "* * * * 8", "5-1 * * * *", "*/0 * * * *", "@daily", "0 0 30 2 *", "0 0 31 4,6 *",
    ],
)  # fmt: skip
def test_a_cron_expression_that_is_none_is_refused(cron: str) -> None:
    with pytest.raises(InvalidSchedule, match=r"cron expression|never due"):
        check_timing(cron=cron, every_seconds=None, timezone="UTC")


@pytest.mark.parametrize("seconds", [0, -1, 0.999, 366 * 86400 + 1, float("inf"), float("nan")])
def test_an_interval_that_is_too_short_or_too_long_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidSchedule, match="interval"):
        check_timing(cron=None, every_seconds=seconds, timezone="UTC")


@pytest.mark.parametrize("timezone", ["", "Europe", "Europe/Atlantis", "../etc/passwd", "/etc/localtime", "\0"])
def test_a_timezone_that_there_is_not_is_refused(timezone: str) -> None:
    with pytest.raises(InvalidSchedule, match="no time zone"):
        check_timing(cron="0 2 * * *", every_seconds=None, timezone=timezone)


@pytest.mark.parametrize(("cron", "seconds"), [(None, None), ("0 2 * * *", 60.0)])
def test_one_of_both_is_needed(cron: str | None, seconds: float | None) -> None:
    with pytest.raises(InvalidSchedule, match="either"):
        check_timing(cron=cron, every_seconds=seconds, timezone="UTC")
