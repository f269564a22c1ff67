"""The routes of validation: have the database looked through, and read the reports."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse

from api.access import visit
from api.access.visit import Keeper
from api.documents import Job, job_document, job_path
from api.jobs import SUBMIT_HEADERS, JobId, submit, wait_seconds
from api.problems import Problem
from api.report_pages import html, markdown
from api.services import InjectedDb, InjectedServices
from shared.findings import for_clients
from shared.jobs import database_validate
from shared.model import Db
from shared.store import reports
from shared.store.database import library
from shared.store.job_record import JobStatus

router = APIRouter(prefix="/api/database", tags=["database"])


class Format(StrEnum):
    """How a report is written."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


NO_REPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report",
        "content": {"application/json": {}, "text/markdown": {}, "text/html": {}},
    },
    404: {"model": Problem, "description": "There is no report of such a job"},
}


@router.get(
    "/validation",
    summary="Validate the database",
    status_code=202,
    response_model=Job,
    responses={200: {"description": "The report, where the job has ended within the time of `Prefer: wait`"}},
    openapi_extra={"parameters": SUBMIT_HEADERS[1:]},
)
async def validate_database(
    who: Keeper,
    services: InjectedServices,
    request: Request,
    response: Response,
    deep: Annotated[bool, Query(description="Have the server check its own files, too; it may lock meanwhile")] = False,
    repair: Annotated[bool, Query(description="Lay out a repair behind it; nothing is changed")] = False,
) -> Job | Response:
    """Submit a job that looks at every document; `Prefer: wait=N` waits for its report."""
    visit.current().changes = True  # a job is made, though clients know this route as a GET
    kind = database_validate.KIND
    job, _ = await submit(services, who, kind, database_validate.Request(deep=deep, repair=repair), None)
    visit.current().target = job.id
    response.headers["Location"] = job_path(job.id)
    if seconds := wait_seconds(request.headers.getlist("prefer")):
        response.headers["Preference-Applied"] = f"wait={seconds}"
        job = await services.watcher.wait_for_end(job, seconds)
        if job.status in (JobStatus.SUCCEEDED, JobStatus.PARTIAL):
            owned = library(services.connection.db, who.owner)
            return await to_thread.run_sync(_written, owned, job.id, Format.JSON, dict(response.headers))
    return job_document(job)


@router.get("/reports/{job_id}", summary="Read a report", response_class=Response, responses=NO_REPORT)
def read_report(
    who: Keeper,
    db: InjectedDb,
    job_id: JobId,
    report_format: Annotated[Format, Query(alias="format", description="How it is written")] = Format.JSON,
) -> Response:
    """What a validation has found: for programs, as Markdown, or as a page with charts that needs nothing else."""
    return _written(library(db, who.owner), job_id, report_format, {})


def _written(db: Db, job_id: str, wanted: Format, headers: dict[str, str]) -> Response:
    report, found = reports.get(db, job_id), reports.findings_of(db, job_id)
    kept = {name: value for name, value in headers.items() if name in ("location", "preference-applied")}
    if wanted is Format.MARKDOWN:
        return PlainTextResponse(markdown(report, found), media_type="text/markdown", headers=kept)
    if wanted is Format.HTML:
        # No script, no address of others: whatever a document may hold, the page does nothing with it.
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(html(report, found), headers={**kept, **policy})
    return JSONResponse(for_clients(report, found), headers=kept)
