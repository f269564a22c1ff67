"""The state of the whole installation as numbers, looked up when Prometheus asks, a few seconds old at most."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import zip_longest
from threading import Lock
from typing import Any, TypeVar

import pymongo
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pymongo.errors import OperationFailure
from redis.exceptions import RedisError

from api.metrics import providers as provider_metrics
from shared import cache_use
from shared.broker import Queue
from shared.cache_use import CacheCounts
from shared.clock import now
from shared.diagnosis import ANSWER_SECONDS
from shared.model import Db
from shared.provider_state import AccountState, read_state
from shared.providers import Account, asked_accounts
from shared.redis_client import impatient_redis
from shared.settings import Settings
from shared.store import indexes, load, slots
from shared.store.database import StoreError, library
from shared.store.indexes import IndexPointer
from shared.store.load import OpenJobs, Waiting
from shared.store.slots import Slot

STATE_SECONDS = 5.0
"""For so long a state is given again: two Prometheus servers, and each replica's own scrapes, are one question."""

INDEXES_ASKED_MAX = 200
"""Each takes MongoDB a look at one entry of an index of its own."""

MEGABYTE = 1e6

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What MongoDB says, and how long its first answer took."""

    seconds: float
    slots: Sequence[Slot]
    waiting: Sequence[Waiting]
    jobs: Sequence[OpenJobs]
    indexes: Sequence[tuple[IndexPointer, datetime | None]]  # each with the moment since which it lacks something
    lag_seconds: float | None  # None where the server is no replica set, or does not tell us


@dataclass(frozen=True, kw_only=True)
class _Rung:
    """What Redis says, and how long its first answer took."""

    seconds: float
    rings: dict[Queue, int]
    memory_bytes: int
    memory_limit_bytes: int
    providers: Sequence[tuple[Account, AccountState]]
    cache: CacheCounts


class State(Collector):
    """Asks MongoDB and Redis; what does not answer is missing, and said to be down."""

    def __init__(self, db: Db, settings: Settings) -> None:
        """Prepare; nothing is asked before somebody collects."""
        self._db, self._settings = db, settings
        self._lock = Lock()
        self._seen_at = -STATE_SECONDS
        self._seen: Sequence[Metric] = ()

    def describe(self) -> Iterator[Metric]:
        """Name nothing beforehand: a registry must not ask the servers when it is made."""
        yield from ()

    def collect(self) -> Sequence[Metric]:
        """Return the state, asked for anew where the last one is too old."""
        with self._lock:
            if time.monotonic() - self._seen_at >= STATE_SECONDS:
                self._seen = list(self._looked_up())
                self._seen_at = time.monotonic()
            return self._seen

    def _looked_up(self) -> Iterator[Metric]:
        yield _family("build_info", "The version that runs", ("version",), [((version("backline"),), 1)])
        stored, rung = _or_none(self._ask_mongodb), _or_none(self._ask_redis)
        answers = (("mongodb", stored), ("redis", rung))
        up = [((name,), float(answer is not None)) for name, answer in answers]
        yield _family("server_up", "Whether a server answers", ("server",), up)
        seconds = [((name,), answer.seconds) for name, answer in answers if answer is not None]
        yield _family("server_seconds", "Time of a small query on a server", ("server",), seconds)
        if stored is not None:
            yield from _of_mongodb(stored)
        if rung is not None:
            yield from _of_redis(rung)
            yield from provider_metrics.of_providers(rung.providers)
            yield from provider_metrics.of_cache(rung.cache)

    def _ask_mongodb(self) -> _Stored:
        db = self._db
        with pymongo.timeout(ANSWER_SECONDS):
            started = time.perf_counter()
            alive = slots.find_alive(db)
            seconds = time.perf_counter() - started
            return _Stored(
                seconds=seconds,
                slots=alive,
                waiting=load.waiting(db),
                jobs=load.open_jobs(db),
                indexes=_ask_indexes(db),
                lag_seconds=_replication_lag(db),
            )

    def _ask_redis(self) -> _Rung:
        with impatient_redis(self._settings.redis_url or "", seconds=ANSWER_SECONDS) as client:
            client.ping()  # the first opens the connection
            started = time.perf_counter()
            client.ping()
            seconds = time.perf_counter() - started
            memory: Any = client.info("memory")
            lengths: Any = [client.llen(queue.value) for queue in Queue]
            asked = asked_accounts(self._settings)
            found = [(account, read_state(client, account)) for account in asked]
            cached = cache_use.counts(client)
        return _Rung(
            seconds=seconds,
            rings=dict(zip(Queue, map(int, lengths), strict=True)),
            memory_bytes=int(memory["used_memory"]),
            memory_limit_bytes=int(memory.get("maxmemory", 0)),
            providers=found,
            cache=cached,
        )


def _or_none(ask: Callable[[], Answer]) -> Answer | None:
    with suppress(StoreError, RedisError, OSError, ValueError):
        return ask()
    return None


def _ask_indexes(db: Db) -> Sequence[tuple[IndexPointer, datetime | None]]:
    """Return every index with the moment since which it lacks something, asked of those that were updated longest ago.

    An index that has all there is may be as old as its texts: nobody needs to know.
    """
    found = sorted(indexes.find_all(db), key=lambda one: one.watermark)
    since = [indexes.outdated_since(library(db, one.owner), one) for one in found[:INDEXES_ASKED_MAX]]
    return list(zip_longest(found, since))


def _replication_lag(db: Db) -> float | None:
    """Return how far the last secondary is behind the primary."""
    try:
        members = db.client.admin.command("replSetGetStatus")["members"]
    except OperationFailure:
        return None
    moments: dict[bool, list[datetime]] = {True: [], False: []}  # whether of the primary
    for member in members:
        if member.get("stateStr") in ("PRIMARY", "SECONDARY"):
            moments[member["stateStr"] == "PRIMARY"].append(member["optimeDate"])
    behind = [(max(moments[True]) - moment).total_seconds() for moment in moments[False]] if moments[True] else []
    return max(behind, default=0.0)


Sample = tuple[tuple[str, ...], float]


def _family(name: str, words: str, labels: Sequence[str], samples: Sequence[Sample]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"backline_{name}", words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _age(moment: datetime) -> float:
    return max((now() - moment).total_seconds(), 0.0)


def _of_mongodb(stored: _Stored) -> Iterator[Metric]:
    yield from _queues(stored.waiting, stored.slots)
    yield from _jobs(stored.jobs)
    yield from _workers(stored.slots)
    yield from _indexes(stored.indexes)
    if stored.lag_seconds is not None:
        words = "How far the last secondary is behind the primary"
        yield _family("mongodb_replication_lag_seconds", words, (), [((), stored.lag_seconds)])


def _queues(found: Sequence[Waiting], alive: Sequence[Slot]) -> Iterator[Metric]:
    processes = Counter(queue for slot in alive for queue in slot.queues)
    depth = [((one.queue.value,), float(one.chunks)) for one in found]
    yield _family("queue_chunks", "Chunks that wait for a worker", ("queue",), depth)
    age = [((one.queue.value,), _age(one.oldest) if one.oldest else 0.0) for one in found]
    yield _family("queue_age_seconds", "For how long the oldest chunk has waited", ("queue",), age)
    slots_ = [((queue.value,), float(processes[queue])) for queue in Queue]
    yield _family("queue_processes", "Live worker processes that take from a queue", ("queue",), slots_)


def _jobs(found: Sequence[OpenJobs]) -> Iterator[Metric]:
    labels = ("kind", "status")
    counts = [((one.kind, one.status.value), float(one.count)) for one in found]
    yield _family("jobs_open", "Unfinished jobs", labels, counts)
    oldest = [((one.kind, one.status.value), _age(one.oldest)) for one in found]
    yield _family("jobs_open_age_seconds", "Age of the oldest unfinished job", labels, oldest)
    still = [((one.kind, one.status.value), _age(one.stillest)) for one in found]
    yield _family("jobs_still_seconds", "For how long at most nothing has changed in an unfinished job", labels, still)


def _workers(alive: Sequence[Slot]) -> Iterator[Metric]:
    sizes: dict[str, list[float]] = defaultdict(list)
    for slot in alive:
        sizes[slot.worker.partition("@")[0]].append(slot.rss_mb * MEGABYTE)
    total = [((worker,), sum(found)) for worker, found in sizes.items()]
    yield _family("worker_memory_bytes", "Memory of all processes of a worker's name", ("worker",), total)
    largest = [((worker,), max(found)) for worker, found in sizes.items()]
    yield _family("worker_memory_max_bytes", "Memory of the largest process", ("worker",), largest)


def _indexes(found: Sequence[tuple[IndexPointer, datetime | None]]) -> Iterator[Metric]:
    by_name: dict[str, list[IndexPointer]] = defaultdict(list)
    outdated: dict[str, list[datetime]] = defaultdict(list)
    for pointer, since in found:
        by_name[pointer.name].append(pointer)
        outdated[pointer.name] += [] if since is None else [since]
    ages = [((name,), _age(min(moments)) if moments else 0.0) for name, moments in outdated.items()]
    yield _family("index_age_seconds", "For how long an index has lacked something, the longest", ("index",), ages)
    sizes = [((name,), float(sum(one.bytes for one in some))) for name, some in by_name.items()]
    yield _family("index_bytes", "Size of the current snapshots of all owners", ("index",), sizes)
    entries = [((name,), float(sum(one.entries for one in some))) for name, some in by_name.items()]
    yield _family("index_entries", "Entries of the current snapshots of all owners", ("index",), entries)


def _of_redis(rung: _Rung) -> Iterator[Metric]:
    rings = [((queue.value,), float(count)) for queue, count in rung.rings.items()]
    yield _family("queue_rings", "Doorbells that nobody has answered", ("queue",), rings)
    yield _family("redis_memory_bytes", "Memory that Redis uses", (), [((), float(rung.memory_bytes))])
    if rung.memory_limit_bytes:
        limit = [((), float(rung.memory_limit_bytes))]
        yield _family("redis_memory_limit_bytes", "Memory that Redis may use", (), limit)
