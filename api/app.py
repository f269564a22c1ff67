"""The web application: ``uvicorn api.app:create_app --factory``."""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.telemetry import TelemetryConfig
from starlette.routing import Route

from api import (
    analytics,
    approvals,
    artifacts,
    audit,
    clusters,
    discovery,
    events,
    exports,
    health,
    jobs,
    keys,
    kinds,
    openapi,
    problems,
    providers,
    recommendations,
    schedules,
    search,
    spotify,
    spotify_login,
    validation,
)
from api.access.guard import Guard
from api.access.opening import Entrance
from api.gate import Gate
from api.mcp import door, wire
from api.mcp.additions import Additions
from api.metrics import route as metrics
from api.metrics.counted import Counted
from api.metrics.requests import Observed
from api.services import Services, running_services
from shared import tracing
from shared.jobs import known_kinds
from shared.settings import Settings, settings_with_servers
from shared.startup import refuse_newer_database, refused_in_one_line

DESCRIPTION = """Heavy work in batches for music and media assistants: submit a job, get its id at once, follow it, read
what came out. Errors are problem documents (RFC 9457) with a stable `code` and an `advice`."""

CROSS_ORIGIN_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer", "X-API-Key"),
    *("If-None-Match", "If-Range", "Range"),
    *("Mcp-Method", "Mcp-Name", "MCP-Protocol-Version", "Mcp-Session-Id"),
)
"""What a page of an allowed origin may send; never cookies, which nothing here reads."""
EXPOSED_HEADERS = (
    *("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Repr-Digest"),
    *("Idempotent-Replayed", "Location", "Preference-Applied", "RateLimit", "RateLimit-Policy", "Retry-After"),
    *("WWW-Authenticate", "Mcp-Session-Id", "X-Request-ID"),
)
"""What such a page may read of an answer."""

WATCHED = ("/health/", "/metrics")
"""What others ask for every few seconds, and nobody wants to see a trace of."""


def _is_watched(scope: MutableMapping[str, Any]) -> bool:
    return str(scope.get("path", "")).startswith(WATCHED)


TELEMETRY: TelemetryConfig = {
    "metrics": False,  # Prometheus has them
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,  # `shared.otel` does it, for workers, too
    "exclude": _is_watched,
}
"""FastAPI makes the spans of requests itself, as soon as the process is traced."""


def create_app(settings: Settings | None = None, *, additions: Additions | None = None) -> FastAPI:
    """Return the application; its connections are opened when it starts.

    With `additions`, assistants find more behind the MCP door than Backline's own.
    """
    with refused_in_one_line():
        chosen = settings or settings_with_servers()
        refuse_newer_database(chosen)
        entrance = Entrance.of(chosen)
        kinds_of_job = list(known_kinds().values())

    counted = Counted()
    assistants = door.McpDoor(kinds_of_job, chosen, lambda: cast(Services, app.state.services), additions)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with tracing.running(chosen, "backline-api"):
            async with running_services(chosen, entrance, counted) as services:
                app.state.services = services
                async with assistants.open():
                    yield

    app = FastAPI(
        title="Backline",
        version=version("backline"),
        description=DESCRIPTION,
        openapi_tags=openapi.TAGS,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=openapi.COMMON,
        generate_unique_id_function=openapi.operation_id,
        lifespan=lifespan,
        telemetry=TELEMETRY,
    )
    work = (
        jobs.submit_routes(kinds_of_job),
        jobs.router,
        approvals.router,
        events.router,
        schedules.router,
        kinds.router,
    )
    taste = (search.router, recommendations.router, clusters.router)
    others = (spotify.router, spotify_login.router, providers.router)
    database = (validation.router, exports.router, analytics.router, artifacts.router)
    operation = (health.router, metrics.router, keys.router, audit.router)
    for router in (*work, *taste, *others, *database, *operation, discovery.router):
        app.include_router(router)
    app.router.routes.append(Route(wire.PATH, assistants, include_in_schema=False))
    _close_the_door(app, chosen)
    app.add_middleware(Observed, counted=counted)
    problems.install(app)
    openapi.install(app)
    return app


def _close_the_door(app: FastAPI, settings: Settings) -> None:
    """Put before the routes what each request has to pass; the last that is added comes first."""
    app.add_middleware(Guard)
    app.add_middleware(
        Gate,
        allowed_hosts=(*settings.allowed_hosts, settings.api_host),
        origins=settings.cors_origins,
        max_body_bytes=settings.max_body_bytes,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE"],
            allow_headers=CROSS_ORIGIN_HEADERS,
            expose_headers=EXPOSED_HEADERS,
        )
