"""`GET /metrics`: everything of this installation that Prometheus asks for, in one place."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from api.access.visit import Operator
from api.services import InjectedServices
from shared.exposition import MEDIA_TYPE

router = APIRouter()


@router.get("/metrics", tags=["health"], summary="Numbers for Prometheus", response_class=PlainTextResponse)
async def metrics(_: Operator, services: InjectedServices) -> Response:
    """What this process counted, the state of queues, jobs, workers, indexes and servers, and the workers' counts.

    The state is the whole installation's, a few seconds old at most and the same from every replica; what is counted
    is each process's own.
    """
    return Response(await services.metrics.text(), media_type=MEDIA_TYPE)
