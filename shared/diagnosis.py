"""The examination of what Backline stands on: each finding says how it is, and what to do where it is not well."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import OperationFailure
from redis import Redis
from redis.exceptions import RedisError

from shared.broker import Queue
from shared.clock import milliseconds_since, now
from shared.model import Db
from shared.redis_client import impatient_redis
from shared.settings import Settings
from shared.store import slots
from shared.store.database import StoreError

ANSWER_SECONDS = 1.5
"""A server that has not answered by then counts as down."""

CLOCK_SECONDS = (2.0, 10.0)
"""A clock that is further off is worth a warning, or breaks things: leases are times of whoever took them."""

FREE_BYTES = (2_000_000_000, 300_000_000)
"""With less space, a warning is due, or builds and the embedded servers are about to stop."""

MEMORY_PART = 0.8
"""Of what Redis may use: above it, doorbells are soon refused."""


class Verdict(StrEnum):
    """How a part is."""

    OK = "ok"
    WARNING = "warning"  # it works, and will not for ever
    FAILED = "failed"  # work waits for it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of one part."""

    name: str
    verdict: Verdict = Verdict.OK
    detail: str = ""
    advice: str = ""  # what to do; empty where all is well
    version: str | None = None
    milliseconds: float | None = None


def failed(name: str, detail: str, advice: str) -> Finding:
    """Return the finding of a part that does not work."""
    return Finding(name=name, verdict=Verdict.FAILED, detail=detail, advice=advice)


def warning(name: str, detail: str, advice: str) -> Finding:
    """Return the finding of a part that needs somebody's attention."""
    return Finding(name=name, verdict=Verdict.WARNING, detail=detail, advice=advice)


# MongoDB


def examine_mongodb(db: Db) -> list[Finding]:
    """Ask MongoDB for its version, its time, a read and a write, as Backline's user."""
    try:
        with pymongo.timeout(ANSWER_SECONDS):
            return list(_mongodb(db))
    except StoreError as error:
        # Only the kind of error: its text may hold addresses and passwords.
        advice = "Start the server, or correct MONGODB_URI; the log of MongoDB says why it does not answer."
        return [failed("mongodb", f"does not answer ({type(error).__name__})", advice)]


def _mongodb(db: Db) -> Iterator[Finding]:
    started = time.perf_counter()
    slots.find_alive(db)
    milliseconds = milliseconds_since(started)
    hello = db.client.admin.command("hello", codec_options=db.codec_options)  # with times that know their zone
    version = str(db.client.admin.command("buildInfo")["version"])
    kind = f"replica set {hello['setName']}" if "setName" in hello else "a single server"
    yield Finding(name="mongodb", detail=kind, version=version, milliseconds=milliseconds)
    yield _permissions(db)
    if isinstance(hello.get("localTime"), datetime):
        yield clock("clock.mongodb", hello["localTime"])


def _permissions(db: Db) -> Finding:
    name = "mongodb.permissions"
    try:
        db["diagnoses"].replace_one({"_id": "doctor"}, {"at": now()}, upsert=True)
    except OperationFailure as error:
        advice = (
            f"Give the user of MONGODB_URI the role readWrite on {db.name} (and on {db.name}_OWNER, for each owner)."
        )
        return failed(name, f"can't write to {db.name} ({error.code})", advice)
    return Finding(name=name, detail=f"may read and write {db.name}")


# Redis


def examine_redis(settings: Settings) -> list[Finding]:
    """Ask Redis for its version, its time, and the settings that matter to a queue."""
    advice = "Start the server, or correct REDIS_URL; while it is down, work is found again by the reaper only."
    if settings.redis_url is None:
        return [failed("redis", "is not configured", "Set REDIS_URL, or start everything with `backline up`.")]
    try:
        with impatient_redis(settings.redis_url, seconds=ANSWER_SECONDS) as client:
            return list(_redis(client))
    except (RedisError, OSError, ValueError) as error:
        return [failed("redis", f"does not answer ({type(error).__name__})", advice)]


def _redis(client: Redis) -> Iterator[Finding]:
    client.ping()  # the first opens the connection
    started = time.perf_counter()
    client.ping()
    milliseconds = milliseconds_since(started)
    info: Any = client.info()
    version = str(info.get("valkey_version") or info["redis_version"])
    yield Finding(name="redis", version=version, milliseconds=milliseconds, detail=info.get("server_name", "redis"))
    yield _eviction(info)
    yield _redis_memory(info)
    seconds, microseconds = client.time()
    yield clock("clock.redis", datetime.fromtimestamp(seconds + microseconds / 1e6, tz=UTC))


def _eviction(info: Any) -> Finding:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory", 0):
        advice = "Set maxmemory-policy noeviction: Redis must refuse, never forget."
        return warning("redis.eviction", f"may forget doorbells and budgets ({policy})", advice)
    return Finding(name="redis.eviction", detail="forgets nothing")


def _redis_memory(info: Any) -> Finding:
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    detail = f"{used / 1e6:.1f} MB" + (f" of {limit / 1e6:.0f} MB" if limit else "")
    if limit and used > MEMORY_PART * limit:
        return warning("redis.memory", detail, "Raise maxmemory, or find what else uses this Redis.")
    return Finding(name="redis.memory", detail=detail)


# Clocks, disks, queues


def clock(name: str, theirs: datetime) -> Finding:
    """Compare a server's clock with ours."""
    seconds = abs((now() - theirs).total_seconds())
    detail = f"{seconds:.1f} s apart"
    advice = "Let NTP (chrony, systemd-timesyncd) set the clock on every machine."
    found = Finding(name=name, detail=detail)
    if seconds > CLOCK_SECONDS[1]:
        return replace(found, verdict=Verdict.FAILED, advice=advice)
    return replace(found, verdict=Verdict.WARNING, advice=advice) if seconds > CLOCK_SECONDS[0] else found


def disk(name: str, folder: Path) -> Finding:
    """Look how much space is left where a folder is, or will be."""
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free
    found = Finding(name=f"disk.{name}", detail=f"{free / 1e9:.1f} GB free for {folder}")
    advice = "Free some space, or move the folder to a larger disk."
    if free < FREE_BYTES[1]:
        return replace(found, verdict=Verdict.FAILED, advice=advice)
    return replace(found, verdict=Verdict.WARNING, advice=advice) if free < FREE_BYTES[0] else found


def examine_queues(db: Db) -> list[Finding]:
    """Look whether live worker processes take from each queue."""
    try:
        with pymongo.timeout(ANSWER_SECONDS):
            alive = Counter(queue for slot in slots.find_alive(db) for queue in slot.queues)
    except StoreError:
        return []  # which is MongoDB's finding
    return [_queue(queue, alive[queue]) for queue in Queue]


def _queue(queue: Queue, processes: int) -> Finding:
    name = f"queues.{queue.value}"
    if processes:
        return Finding(name=name, detail=f"{processes} worker process{'es' if processes > 1 else ''}")
    advice = f"Start one: celery -A workers.app worker -Q {queue.value}"
    return failed(name, "no worker process takes from it", advice)


def worst(findings: Sequence[Finding]) -> Verdict:
    """Return the worst of the verdicts."""
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)
