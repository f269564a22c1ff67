"""Whether the process lives, whether everything works, and the whole at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from time import perf_counter
from typing import TypeVar

import pymongo
from anyio import create_task_group, move_on_after, to_thread
from fastapi import APIRouter, Response
from redis.exceptions import RedisError

from api.access.visit import Operator, Reader
from api.parts import (
    DetailedHealth,
    Liveness,
    Parts,
    QueueStatus,
    Readiness,
    ServerPart,
    Status,
    detailed,
    queue_parts,
    worker_document,
)
from api.services import InjectedServices, Services
from shared.broker import BrokerError, Queue, waiting_rings
from shared.clock import milliseconds_since, now
from shared.diagnosis import (
    ANSWER_SECONDS,
    Finding,
    Verdict,
    disk,
    examine_mongodb,
    examine_queues,
    examine_redis,
    failed,
)
from shared.errors import BacklineError
from shared.model import Db
from shared.redis_client import impatient_redis
from shared.settings import Settings
from shared.store import chunks, jobs, slots
from shared.store.database import StoreError
from shared.store.job_record import JobStatus
from shared.store.slots import Slot

CHECK_SECONDS = 2.0
"""Bounds a whole check, also where a name can't be resolved or no thread is free."""

Found = TypeVar("Found")

router = APIRouter()


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What MongoDB has to say about the load."""

    waiting_chunks: dict[Queue, int]
    jobs: dict[JobStatus, int]
    own_jobs: set[str]  # those that workers are at


async def _bounded(services: Services, function: Callable[[], Found]) -> Found | None:
    """Return what `function` returns in a thread of its own, or None when that takes too long."""
    with move_on_after(CHECK_SECONDS):
        # The threads of requests may all be waiting for a server that hangs, so the checks have their own.
        return await to_thread.run_sync(function, abandon_on_cancel=True, limiter=services.check_threads)
    return None


def _silent() -> ServerPart:
    return ServerPart(ok=False, milliseconds=None, detail=f"No answer within {CHECK_SECONDS} seconds")


def _part(started: float, error: Exception | None = None) -> ServerPart:
    if error is not None:
        # Only the kind of error: its text may hold addresses and passwords.
        return ServerPart(ok=False, milliseconds=None, detail=type(error).__name__)
    return ServerPart(ok=True, milliseconds=milliseconds_since(started), detail=None)


def _check_mongodb(db: Db) -> tuple[ServerPart, Sequence[Slot] | None]:
    started = perf_counter()
    try:
        with pymongo.timeout(ANSWER_SECONDS):
            # A real query: a server whose disk is full answers a ping and nothing else.
            alive = slots.find_alive(db)
    except StoreError as error:
        return _part(started, error), None
    return _part(started), alive


def _check_redis(settings: Settings) -> ServerPart:
    if settings.redis_url is None:
        return ServerPart(ok=False, milliseconds=None, detail="No Redis is configured: set REDIS_URL")
    started = perf_counter()
    try:
        with impatient_redis(settings.redis_url, seconds=ANSWER_SECONDS) as client:
            client.ping()
    except (RedisError, OSError, ValueError) as error:
        return _part(started, error)
    return _part(started)


async def _check_search(services: Services) -> ServerPart | None:
    if not services.search.is_configured:
        return None
    started = perf_counter()
    try:
        state = await services.search.state()
    except BacklineError as error:
        return ServerPart(ok=False, milliseconds=None, detail=error.message)
    if not state.is_ready:
        return ServerPart(ok=False, milliseconds=None, detail=f"It warms up: it still waits for {state.waits_for}")
    return _part(started)


async def _inspect(services: Services) -> tuple[Parts, Sequence[Slot] | None]:
    """Check every part at the same time."""
    redis: ServerPart | None = None
    search: ServerPart | None = None

    async def check_redis() -> None:
        nonlocal redis
        redis = await _bounded(services, lambda: _check_redis(services.settings))

    async def check_search() -> None:
        nonlocal search
        search = await _check_search(services)

    async with create_task_group() as tasks:
        tasks.start_soon(check_redis)
        tasks.start_soon(check_search)
        db = services.connection.unchecked_db
        mongodb, alive = await _bounded(services, lambda: _check_mongodb(db)) or (_silent(), None)
    count = None if alive is None else Counter(queue for slot in alive for queue in slot.queues)
    parts = Parts(mongodb=mongodb, redis=redis or _silent(), queues=queue_parts(count), search=search)
    return parts, alive


def _stored(db: Db, owner: str, working_on: Sequence[str]) -> _Stored | None:
    try:
        with pymongo.timeout(ANSWER_SECONDS):
            waiting = {queue: chunks.count_waiting(db, queue, since=now()) for queue in Queue}
            counts = {JobStatus(status): count for status, count in jobs.count_by_status(db, owner).items()}
            own = jobs.find_owned(db, owner, working_on)
    except StoreError:
        return None
    return _Stored(waiting_chunks=waiting, jobs=counts, own_jobs=own)


def _rings() -> dict[Queue, int] | None:
    try:
        return {queue: waiting_rings(queue) for queue in Queue}
    except BrokerError:
        return None


@router.get("/health/live", tags=["health"], summary="Does the process answer?", response_model=Liveness)
async def live() -> Liveness:
    """200 as long as the process answers, whatever else is down."""
    return Liveness()


@router.get(
    "/health/ready",
    tags=["health"],
    summary="Does everything work?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something is down: `down` says what"}},
)
async def ready(services: InjectedServices, response: Response) -> Readiness:
    """MongoDB, Redis, a live worker process on each queue, and the search server where one is configured; 503 when one
    of them is down. A search server that still loads its model counts as down; submits work meanwhile."""
    parts, _ = await _inspect(services)
    down = parts.down()
    response.status_code = 503 if down else 200
    return Readiness(status="unavailable" if down else "ready", down=tuple(down), parts=parts)


async def _examined(services: Services) -> list[Finding]:
    """Examine every part at the same time; one that takes too long has failed."""
    db, settings = services.connection.unchecked_db, services.settings
    examinations: dict[str, Callable[[], Sequence[Finding]]] = {
        "mongodb": lambda: examine_mongodb(db),
        "redis": lambda: examine_redis(settings),
        "queues": lambda: examine_queues(db),
        "disk": lambda: [disk("data", settings.data_dir)],
    }
    found: dict[str, Sequence[Finding]] = {}

    async def examine(name: str) -> None:
        answer = await _bounded(services, examinations[name])
        silent = failed(name, f"No answer within {CHECK_SECONDS} seconds", "Look at its log and at its machine's load.")
        found[name] = [silent] if answer is None else answer

    async def examine_search() -> None:
        part = await _check_search(services)
        if part is not None:
            found["search"] = [_search_finding(part)]

    async with create_task_group() as tasks:
        tasks.start_soon(examine_search)
        for name in examinations:
            tasks.start_soon(examine, name)
    own = Finding(name="api", version=version("backline"), detail="answers")
    return [own, *(finding for name in (*examinations, "search") for finding in found.get(name, ()))]


def _search_finding(part: ServerPart) -> Finding:
    if part.ok:
        return Finding(name="search", detail="is ready", milliseconds=part.milliseconds)
    advice = "Start it: python -m workers.search; BACKLINE_SEARCH_URL and BACKLINE_SEARCH_TOKEN say where and how."
    return failed("search", part.detail or "is not ready", advice)


@router.get(
    "/health/detailed",
    tags=["health"],
    summary="How is each part, and what is to be done?",
    response_model=DetailedHealth,
    responses={503: {"model": DetailedHealth, "description": "A part has failed: its `advice` says what to do"}},
)
async def detailed_health(_: Operator, services: InjectedServices, response: Response) -> DetailedHealth:
    """Each part with its version, how long it took to answer, and what to do where it is not well; 503 when one has
    failed. A warning leaves it at 200."""
    health = detailed(await _examined(services))
    response.status_code = 503 if health.status is Verdict.FAILED else 200
    return health


@router.get("/api/status", tags=["health"], summary="Everything at a glance", response_model=Status)
async def status(who: Reader, services: InjectedServices) -> Status:
    """The parts, the load of each queue, the live worker processes, and how many of your jobs are in each status."""
    parts, alive = await _inspect(services)
    db = services.connection.unchecked_db
    working_on = [slot.job_id for slot in alive or () if slot.job_id is not None]
    stored = await _bounded(services, lambda: _stored(db, who.owner, working_on)) if parts.mongodb.ok else None
    rings = await _bounded(services, _rings) if parts.redis.ok else None
    queues = {
        queue: QueueStatus(
            slots=parts.queues[queue].slots,
            waiting_chunks=stored.waiting_chunks[queue] if stored else None,
            waiting_rings=rings[queue] if rings else None,
        )
        for queue in Queue
    }
    own = stored.own_jobs if stored else set()
    workers = tuple(worker_document(slot, shows_job=slot.job_id in own) for slot in alive or ())
    return Status(parts=parts, queues=queues, workers=workers, jobs=stored.jobs if stored else None)
