"""What an installation has from its first start: made once, never again when somebody has changed or deleted it."""

from __future__ import annotations

from contextlib import suppress

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.errors import ScheduleExists
from shared.model import Db
from shared.store import schedules
from shared.store.schedules import Schedule, schedule_id
from shared.timing import next_slot

COLLECTION = "defaults"
CATALOGUE_WEEKLY = "catalogue-weekly"
SUNDAY_NIGHT = "0 2 * * sun"


def ensure_defaults(db: Db) -> None:
    """Make what is missing of the defaults, unless it was there before; harmless from several processes at once."""
    if db[COLLECTION].find_one({"_id": CATALOGUE_WEEKLY}) is None:
        with suppress(ScheduleExists):  # somebody has one of that name, or is about to make this one
            schedules.insert(db, _weekly_import())
        db[COLLECTION].update_one({"_id": CATALOGUE_WEEKLY}, {"$setOnInsert": {"madeAt": now()}}, upsert=True)


def _weekly_import() -> Schedule:
    """Return the import of the public release each week, which waits for somebody to want it."""
    moment = now()
    return Schedule(
        id=schedule_id(DEFAULT_OWNER, CATALOGUE_WEEKLY),
        name=CATALOGUE_WEEKLY,
        owner=DEFAULT_OWNER,
        user_id="local",
        kind="catalogue_import",
        request={"userId": "local", "release": True},
        cron=SUNDAY_NIGHT,
        timezone="UTC",
        paused=True,
        next_at=next_slot(cron=SUNDAY_NIGHT, every_seconds=None, timezone="UTC", after=moment),
        created_at=moment,
        updated_at=moment,
    )
