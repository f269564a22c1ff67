"""The route by which large results are downloaded."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse

from api import ranges
from api.access.visit import Keeper
from api.problems import Problem, problem
from api.services import InjectedDb
from shared.model import Db
from shared.store import artifacts
from shared.store.artifacts import Artifact
from shared.store.database import library

MEDIA_TYPES = (
    *("application/json", "application/x-ndjson", "text/csv", "application/vnd.apache.parquet"),
    *("application/gzip", "application/zstd"),
)

router = APIRouter(prefix="/api/artifacts", tags=["artifacts"])

ArtifactId = Annotated[str, Path(description="From the summary of the job that made it", max_length=256)]
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_CONTENT = dict.fromkeys(MEDIA_TYPES, _BYTES)
_TEXT = {"schema": {"type": "string"}}
_HEADERS = {
    "Accept-Ranges": {"description": "`bytes`", **_TEXT},
    "Content-Disposition": {"description": "The file's name", **_TEXT},
    "ETag": {"description": "Changes with the content; for `If-Range` and `If-None-Match`", **_TEXT},
    "Repr-Digest": {"description": "SHA-256 of the whole file (RFC 9530)", **_TEXT},
}
_PART = {"Content-Range": {"description": "Which bytes these are, and of how many", **_TEXT}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file", "headers": _HEADERS, "content": _CONTENT},
    206: {"description": "The range that was asked for", "headers": {**_HEADERS, **_PART}, "content": _CONTENT},
    304: {"description": "The client has it already: `If-None-Match`"},
    404: {"model": Problem, "description": "There is no such artifact, or it has expired"},
    416: {"model": Problem, "description": "The range lies outside of the file", "headers": _PART},
}
PARAMETERS: list[dict[str, Any]] = [
    {
        "in": "header",
        "name": name,
        "schema": {"type": "string"},
        "description": text,
    }
    for name, text in (
        ("Range", "`bytes=1000-` goes on behind the first 1,000 bytes; one range at a time (RFC 9110)"),
        ("If-Range", "The ETag of what the range belongs to; another version is sent whole"),
        ("If-None-Match", "The ETag of what the client has"),
    )
]


@router.get(
    "/{artifact_id}",
    name="download_artifact",
    summary="Download an artifact",
    response_class=StreamingResponse,
    responses=RESPONSES,
    openapi_extra={"parameters": PARAMETERS},
)
@router.head(
    "/{artifact_id}",
    name="describe_artifact",
    summary="Ask about an artifact without downloading it",
    response_class=StreamingResponse,
    responses=RESPONSES,
    openapi_extra={"parameters": PARAMETERS},
)
def download_artifact(who: Keeper, db: InjectedDb, request: Request, artifact_id: ArtifactId) -> Response:
    """A file that a job of yours has made, until it expires; a download that broke off goes on by `Range`."""
    own = library(db, who.owner)
    artifact = artifacts.get(own, artifact_id)
    etag = f'"{artifact.sha256}"'
    headers = _headers(artifact, etag)
    if ranges.is_unchanged(request.headers, etag):
        return Response(status_code=304, headers={"ETag": etag})
    try:
        span = ranges.wanted(request.headers, etag, artifact.size)
    except ranges.NotSatisfiable:
        return _out_of_range(request, artifact)
    start, stop = (0, artifact.size) if span is None else (span.start, span.stop)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{artifact.size}"
    headers["Content-Length"] = str(stop - start)
    return StreamingResponse(
        _content(request, own, artifact, start, stop),
        status_code=200 if span is None else 206,
        headers=headers,
        media_type=artifact.content_type,
    )


def _content(request: Request, own: Db, artifact: Artifact, start: int, stop: int) -> Iterator[bytes]:
    return iter(()) if request.method == "HEAD" else artifacts.stream(own, artifact, start, stop)


def _headers(artifact: Artifact, etag: str) -> dict[str, str]:
    digest = b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private",
        "Content-Disposition": f'attachment; filename="{artifact.filename}"',
        "ETag": etag,
        "Expires": format_datetime(artifact.expires_at.astimezone(UTC), usegmt=True),
        "Last-Modified": format_datetime(artifact.created_at.astimezone(UTC), usegmt=True),
        "Repr-Digest": f"sha-256=:{digest}:",
        "X-Content-Type-Options": "nosniff",
    }


def _out_of_range(request: Request, artifact: Artifact) -> Response:
    return problem(
        request,
        status=416,
        code="range_not_satisfiable",
        detail=f"The artifact has {artifact.size} bytes.",
        advice="Ask for a range within them.",
        headers={"Content-Range": f"bytes */{artifact.size}"},
    )
