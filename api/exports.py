"""The route by which a library is exported, where clients of it look."""

from __future__ import annotations

from fastapi import APIRouter

from api.jobs import add_submit_route
from shared.jobs import data_export

router = APIRouter(prefix="/api/database", tags=["database"])
add_submit_route(router, "/export", data_export.KIND, name="export_database")
