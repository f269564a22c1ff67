"""`GET /metrics`: everything of this installation that Prometheus asks for, in one place."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response, Security
from fastapi.responses import PlainTextResponse

from api.access.visit import allowed
from api.services import InjectedServices
from shared.access import Principal, Scope
from shared.exposition import MEDIA_TYPE

router = APIRouter()

Scraper = Annotated[Principal, Security(allowed, scopes=[Scope.METRICS.value])]


@router.get("/metrics", tags=["health"], summary="Numbers for Prometheus", response_class=PlainTextResponse)
async def metrics(_: Scraper, services: InjectedServices) -> Response:
    """What this process counted, the state of queues, jobs, workers, indexes and servers, and the workers' counts.

    The state is the whole installation's, a few seconds old at most and the same from every replica; what is counted
    is each process's own.
    """
    return Response(await services.metrics.text(), media_type=MEDIA_TYPE)
