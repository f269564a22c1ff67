"""What an installation has from its first start: made once, never again when somebody has changed or deleted it."""

from __future__ import annotations

from contextlib import suppress

from shared.access import DEFAULT_OWNER
from shared.clock import now
from shared.errors import ScheduleExists
from shared.model import Db, Json
from shared.store import schedules
from shared.store.schedules import Schedule, schedule_id
from shared.timing import next_slot

COLLECTION = "defaults"
CATALOGUE_WEEKLY = "catalogue-weekly"
SUNDAY_NIGHT = "0 2 * * sun"
VALIDATION_NIGHTLY = "database-nightly"
EVERY_NIGHT = "30 3 * * *"
CACHE_WARMING = "cache-warming"
EVERY_QUARTER = "*/15 * * * *"
SPOTIFY_HISTORY = "spotify-history"
EVERY_HALF_HOUR = "7,37 * * * *"
NAMES = (CACHE_WARMING, CATALOGUE_WEEKLY, VALIDATION_NIGHTLY, SPOTIFY_HISTORY)


def ensure_defaults(db: Db) -> None:
    """Make what is missing of the defaults, unless it was there before; harmless from several processes at once."""
    # What asks others waits for somebody to want it; validation reads, and costs little.
    _make_once(db, CATALOGUE_WEEKLY, kind="catalogue_import", request={"release": True}, cron=SUNDAY_NIGHT, paused=True)
    _make_once(db, VALIDATION_NIGHTLY, kind="database_validate", request={}, cron=EVERY_NIGHT, paused=False)
    _make_once(db, CACHE_WARMING, kind="cache_warming", request={}, cron=EVERY_QUARTER, paused=True)
    # Spotify remembers the last fifty plays: some two hours of listening.
    everybody = {"allUsers": True}
    _make_once(db, SPOTIFY_HISTORY, kind="history_sync", request=everybody, cron=EVERY_HALF_HOUR, paused=True)


def _make_once(db: Db, name: str, *, kind: str, request: Json, cron: str, paused: bool) -> None:
    if db[COLLECTION].find_one({"_id": name}) is None:
        with suppress(ScheduleExists):  # somebody has one of that name, or is about to make this one
            schedules.insert(db, _schedule(name, kind=kind, request=request, cron=cron, paused=paused))
        db[COLLECTION].update_one({"_id": name}, {"$setOnInsert": {"madeAt": now()}}, upsert=True)


def _schedule(name: str, *, kind: str, request: Json, cron: str, paused: bool) -> Schedule:
    moment = now()
    return Schedule(
        id=schedule_id(DEFAULT_OWNER, name),
        name=name,
        owner=DEFAULT_OWNER,
        user_id="local",
        kind=kind,
        request={"userId": "local", **request},
        cron=cron,
        timezone="UTC",
        paused=paused,
        next_at=next_slot(cron=cron, every_seconds=None, timezone="UTC", after=moment),
        created_at=moment,
        updated_at=moment,
    )
