"""The route that tells which kinds of job there are."""

from __future__ import annotations

from fastapi import APIRouter

from api.access.visit import Reader
from api.documents import KindList, kind_document
from shared.jobs import known_kinds

router = APIRouter(prefix="/api/kinds", tags=["kinds"])


@router.get("", summary="List the kinds of job", response_model=KindList)
def list_kinds(_: Reader) -> KindList:
    """Every kind of job, with the JSON Schemas of what it takes and yields."""
    return KindList(kinds=tuple(kind_document(kind) for kind in known_kinds().values()))
