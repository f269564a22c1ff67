"""The web application: ``uvicorn api.app:create_app --factory``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import cast

from fastapi import FastAPI
from starlette.routing import Route

from api import events, health, jobs, kinds, openapi, problems, schedules
from api.gate import Gate
from api.mcp import door, wire
from api.mcp.additions import Additions
from api.services import Services, running_services
from shared.jobs import known_kinds
from shared.settings import Settings, settings_with_servers
from shared.startup import refused_in_one_line

DESCRIPTION = """Heavy work in batches for music and media assistants: submit a job, get its id at once, follow it, read
what came out. Errors are problem documents (RFC 9457) with a stable `code` and an `advice`."""


def create_app(settings: Settings | None = None, *, additions: Additions | None = None) -> FastAPI:
    """Return the application; its connections are opened when it starts.

    With `additions`, assistants find more behind the MCP door than Backline's own.
    """
    with refused_in_one_line():
        chosen = settings or settings_with_servers()
        kinds_of_job = list(known_kinds().values())

    assistants = door.McpDoor(kinds_of_job, chosen, lambda: cast(Services, app.state.services), additions)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_services(chosen) as services:
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
    )
    routers = (jobs.submit_routes(kinds_of_job), jobs.router, events.router, schedules.router, kinds.router)
    for router in (*routers, health.router):
        app.include_router(router)
    app.router.routes.append(Route(wire.PATH, assistants, include_in_schema=False))
    app.add_middleware(Gate, allowed_hosts=chosen.allowed_hosts, max_body_bytes=chosen.max_body_bytes)
    problems.install(app)
    openapi.install(app)
    return app
