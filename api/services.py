"""What the routes share: settings, database, doorbell, watcher."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast

from anyio import CapacityLimiter, create_task_group
from fastapi import Depends, Request

from api.access.audit import AuditLog
from api.access.keys import Keyring
from api.access.limits import Budgets, RateLimiter
from api.access.opening import Entrance
from api.access.quotas import OpenJobs
from api.access.tokens import TokenVerifier
from api.connection import Connection
from api.doorbell import Doorbell
from api.intake import Intake
from api.metrics.counted import Counted
from api.metrics.page import MetricsPage
from api.searching import SearchClient
from api.watch import Watcher
from shared.broker import shorten_timeouts
from shared.model import Db
from shared.settings import Settings

BROKER_TIMEOUT_SECONDS = 2.0
CHECK_THREADS = 16


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts of a running API process."""

    settings: Settings
    connection: Connection
    intake: Intake
    doorbell: Doorbell
    watcher: Watcher
    check_threads: CapacityLimiter  # for the health checks alone
    keyring: Keyring
    tokens: TokenVerifier | None  # where an issuer is configured
    limiter: RateLimiter
    budgets: Budgets
    open_jobs: OpenJobs
    search: SearchClient
    audit: AuditLog
    counted: Counted
    metrics: MetricsPage


@asynccontextmanager
async def running_services(settings: Settings, entrance: Entrance, counted: Counted) -> AsyncIterator[Services]:
    """Start the parts and stop them afterwards; a server that is down now is waited for behind the scenes."""
    shorten_timeouts(BROKER_TIMEOUT_SECONDS)
    connection = Connection(settings)
    intake = Intake(connection)
    doorbell = Doorbell()
    watcher = Watcher(connection)
    keyring = Keyring(entrance.file_key, connection)
    limiter = RateLimiter(settings.redis_url)
    search = SearchClient(settings, counted)
    audit = AuditLog(connection, settings.audit_ttl)
    metrics = MetricsPage(counted, connection.unchecked_db, settings)
    port = None if settings.metrics_port is None else metrics.serve(settings.metrics_host, settings.metrics_port)
    doorbell.start()
    try:
        async with create_task_group() as tasks:
            tasks.start_soon(connection.keep)
            tasks.start_soon(intake.run)
            tasks.start_soon(watcher.run)
            tasks.start_soon(audit.run)
            yield Services(
                settings=settings,
                connection=connection,
                intake=intake,
                doorbell=doorbell,
                watcher=watcher,
                check_threads=CapacityLimiter(CHECK_THREADS),
                keyring=keyring,
                tokens=entrance.tokens,
                limiter=limiter,
                budgets=entrance.budgets,
                open_jobs=OpenJobs(settings),
                search=search,
                audit=audit,
                counted=counted,
                metrics=metrics,
            )
            tasks.cancel_scope.cancel()
    finally:
        if port is not None:
            port.shutdown()
            port.server_close()
        doorbell.close()
        await limiter.close()
        await search.close()
        if entrance.tokens is not None:
            await entrance.tokens.close()
        connection.close()


# The dependencies are coroutines because FastAPI runs plain functions in a thread, which costs more than they do.


async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


async def _database(request: Request) -> Db:
    return (await _services(request)).connection.db


InjectedServices = Annotated[Services, Depends(_services)]
InjectedDb = Annotated[Db, Depends(_database)]
