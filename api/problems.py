"""Errors as problem documents (RFC 9457): what happened, a stable code, and what to do."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from bson.errors import BSONError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException

from api.access.resource import SCOPES_OFFERED, challenge, door_of, metadata_url
from api.access.visit import note_outcome
from api.connection import Connection
from shared import errors
from shared.clock import new_id
from shared.errors import BacklineError, InvalidRequest
from shared.lifecycle import invalid_request
from shared.model import Body
from shared.settings import Settings
from shared.store.indexes import IndexName

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = (1, 2, 3)
"""One of these by chance, so that those who were refused together do not come back together."""
PATHS_WITH_SUCCESS = (
    *("/api/spotify/", "/api/database/analytics/", "/api/database/export", "/api/database/insights"),
    "/api/database/stats",
)
"""Where clients look for `success` in every answer, and for `errors` where it is false."""

FORMS: Mapping[str, Collection[str]] = {"/api/search": tuple(IndexName)}
"""Where a body has one of several forms, by whose names pydantic calls what is in them: no client has written those."""

STATUS: Mapping[type[BacklineError], int] = {
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.RateLimited: 429,
    errors.KeyNotFound: 404,
    errors.NoIssuer: 404,
    errors.InvalidRequest: 422,
    errors.UnknownJobKind: 404,
    errors.JobNotFound: 404,
    errors.ReportNotFound: 404,
    errors.RepairNotFound: 404,
    errors.NothingAsked: 409,
    errors.WrongPlan: 409,
    errors.ArtifactNotFound: 404,
    errors.NotOffered: 400,
    errors.DatabaseTooNew: 503,
    errors.RestoreUnfinished: 503,
    errors.JobFinished: 409,
    errors.JobNotFinished: 409,
    errors.NothingToRetry: 409,
    errors.IdempotencyConflict: 422,
    errors.InvalidCursor: 400,
    errors.ScheduleNotFound: 404,
    errors.ScheduleExists: 409,
    errors.InvalidSchedule: 422,
    errors.UnknownIndex: 404,
    errors.IndexMissing: 409,
    errors.NothingToRollBack: 409,
    errors.EntryNotFound: 404,
    errors.EmbedderMismatch: 409,
    errors.PlanFailed: 422,
    errors.ProviderNotSetUp: 409,
    errors.AuthorizationNotFound: 404,
    errors.AuthorizationRefused: 409,
    errors.QuotaSpent: 503,
    errors.ClientGone: 499,  # nginx's number; nobody reads it, but it is counted
    errors.ServiceUnavailable: 503,
}
"""The HTTP status of each class; one that is not named has its parent's, and 500 at the root."""

HTTP_CODES: Mapping[int, tuple[str, str]] = {
    403: ("origin_not_allowed", "Add the origin to BACKLINE_CORS_ORIGINS if it is yours."),
    400: ("malformed_body", "Send the body as valid JSON in UTF-8."),
    404: ("route_not_found", "See /api/docs for the routes that exist."),
    405: ("method_not_allowed", "See /api/docs for the methods of this route."),
    413: ("body_too_large", "Split the work into several requests, or raise BACKLINE_MAX_BODY_BYTES."),
    415: ("unsupported_media_type", "Send JSON with the header 'Content-Type: application/json'."),
    421: ("host_not_allowed", "Add the name to BACKLINE_ALLOWED_HOSTS if it is yours."),
}
"""The code and the advice for what goes wrong before a route is reached."""


class FieldProblem(Body):
    """What is wrong with one field of the request."""

    field: str = Field(description="Its place: names and list positions, separated by dots")
    message: str


class Problem(Body):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:backline:job_not_found",
                    "title": "Job not found",
                    "status": 404,
                    "detail": "There is no job 'job_1'.",
                    "code": "job_not_found",
                    "advice": "List the jobs to see which exist; finished jobs are deleted after some time.",
                    "instance": "/api/jobs/job_1",
                }
            ]
        }
    )

    type: str = Field(description="A URN that stands for this kind of problem")
    title: str
    status: int
    detail: str = Field(description="What happened to which thing")
    code: str = Field(description="Stable, for programs: the last part of the type")
    advice: str = Field(description="What to do")
    instance: str = Field(description="The path that was asked for, or the id under which the log has more")
    errors: tuple[FieldProblem, ...] | None = Field(default=None, description="The fields that are wrong")
    success: bool | None = Field(default=None, description="False, for clients that look for it there")


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    advice: str,
    fields: Sequence[tuple[str, str]] = (),
    instance: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the answer that says what went wrong."""
    note_outcome(code)
    looks_for_success = request.url.path.startswith(PATHS_WITH_SUCCESS)
    if looks_for_success and not fields:
        fields = (("request", detail),)
    document = Problem(
        type=f"urn:backline:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        advice=advice,
        instance=instance or request.url.path,
        errors=tuple(FieldProblem(field=name, message=message) for name, message in fields) or None,
        success=False if looks_for_success else None,
    )
    content = document.model_dump(mode="json", by_alias=True, exclude_none=True)
    return JSONResponse(content, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _status_of(error: BacklineError) -> int:
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


async def on_backline_error(request: Request, error: BacklineError) -> JSONResponse:
    """Answer with what the error says of itself."""
    status = _status_of(error)
    fields = error.fields if isinstance(error, InvalidRequest) else ()
    return problem(
        request,
        status=status,
        code=error.code,
        detail=error.message,
        advice=error.advice,
        fields=fields,
        instance=error.incident if isinstance(error, Unexpected) else None,
        headers=_headers_of(request, error, status),
    )


def _headers_of(request: Request, error: BacklineError, status: int) -> dict[str, str]:
    """Return what clients must know beside the document: when to come back, or what to bring."""
    if isinstance(error, errors.RateLimited):
        return {"Retry-After": str(error.retry_after_seconds)}
    if isinstance(error, errors.NotAuthenticated | errors.NotAllowed):
        return {"WWW-Authenticate": _challenge(request, error)}
    if status != HTTPStatus.SERVICE_UNAVAILABLE:
        return {}
    return {"Retry-After": str(random.choice(RETRY_AFTER_SECONDS))}


def _challenge(request: Request, error: errors.NotAuthenticated | errors.NotAllowed) -> str:
    """Return what a client must bring, and where it is to be had if not from the operator."""
    settings: Settings = request.app.state.services.settings
    metadata = metadata_url(door_of(request, settings)) if settings.oidc_issuer else None
    if isinstance(error, errors.NoCredentials):
        return challenge(metadata=metadata, scopes=() if metadata is None else SCOPES_OFFERED)
    return challenge(error, metadata=metadata)


class Unexpected(BacklineError):
    """Something happened that nobody foresaw; the log has it under `incident`."""

    code = "internal_error"
    advice = "Report it with that id; the request may be tried again."

    def __init__(self, incident: str) -> None:
        """Keep the id under which the log has the traceback."""
        super().__init__(f"Something unexpected happened; the log has it as {incident}.")
        self.incident = incident


def explained(error: Exception, connection: Connection, *, where: str) -> BacklineError:
    """Return what an error that ended a request means for whoever asked, in the same words at every door.

    A lost connection to MongoDB is remembered; what nobody foresaw is logged with its traceback.
    """
    if isinstance(error, BacklineError):
        return error
    if isinstance(error, PyMongoError):
        connection.note(error)
        logger.warning("%s: MongoDB: %s", where, type(error).__name__)
        return errors.ServiceUnavailable("MongoDB does not answer as it should.")
    if isinstance(error, BSONError | OverflowError):  # BSON has no integers above 64 bits
        return InvalidRequest(f"The request can't be stored: {error}.")
    incident = new_id("incident")
    logger.error("%s: %s failed", incident, where, exc_info=error)
    return Unexpected(incident)


async def on_other_error(request: Request, error: Exception) -> JSONResponse:
    """Answer for what is no error of ours: a store that fails, a value that it can't hold, the unforeseen."""
    connection = request.app.state.services.connection
    return await on_backline_error(request, explained(error, connection, where=f"{request.method} {request.url.path}"))


async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    """Answer for what went wrong before a route was reached."""
    code, advice = HTTP_CODES.get(error.status_code, (f"http_{error.status_code}", "See /api/docs."))
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}."
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible at {request.url.path}."
    return problem(request, status=error.status_code, code=code, detail=detail, advice=advice, headers=error.headers)


async def on_validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer with the fields of the request that are wrong."""
    found: Sequence[Mapping[str, Any]] = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        reason = found[0].get("ctx", {}).get("error", "")
        return await on_http_exception(request, HTTPException(400, f"The body is no JSON: {reason}."))
    if isinstance(error.body, bytes):
        return await on_http_exception(request, HTTPException(415, "The body is not marked as JSON."))
    return await on_backline_error(request, invalid_request([(_place(request, one), one["msg"]) for one in found]))


def _place(request: Request, found: Mapping[str, Any]) -> Sequence[int | str]:
    """Return where in what the client wrote something is wrong."""
    # The first part of each place says where in the HTTP request it is.
    place: Sequence[int | str] = found["loc"][1:]
    return place[1:] if place and place[0] in FORMS.get(request.url.path, ()) else place


def install(app: FastAPI) -> None:
    """Let every error of `app` be answered with a problem document."""
    # The handlers' own types are narrower than the signature that Starlette has for all of them.
    handlers: dict[type[Exception], Any] = {
        BacklineError: on_backline_error,
        PyMongoError: on_other_error,
        BSONError: on_other_error,
        OverflowError: on_other_error,
        HTTPException: on_http_exception,
        RequestValidationError: on_validation_error,
        Exception: on_other_error,
    }
    for cls, handler in handlers.items():
        app.add_exception_handler(cls, handler)
