"""The route of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from api.access.visit import Admin
from api.services import InjectedDb
from shared.model import Body, Json
from shared.store import audit

router = APIRouter(prefix="/api/audit", tags=["audit"])

_EXAMPLE: Json = {
    "id": "audit_0193",
    "at": "2026-11-21T12:00:00Z",
    "owner": "echotune",
    "actor": "key:k3v7q2m4xa",
    "door": "rest",
    "action": "submit_audio_features",
    "target": "job_019a",
    "address": "10.0.0.7",
    "outcome": "ok",
    "status": 202,
}


class AuditEntry(Body):
    """One thing that somebody did, or was not let do."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    at: datetime
    owner: str | None = Field(description="Null where nobody knows who asked")
    actor: str | None = Field(description="`key:` and the key's id, or a subject of the issuer")
    door: str = Field(description="`rest` or `mcp`")
    action: str = Field(description="The name of the route or of the tool")
    target: str | None = Field(description="The id or name of what it was done to")
    address: str | None = Field(description="Where the request came from")
    outcome: str = Field(description="`ok`, or the code of the problem that was answered")
    status: int | None = Field(description="The status of the HTTP answer")


class AuditPage(Body):
    """Some entries, newest first."""

    entries: tuple[AuditEntry, ...]
    next_cursor: str | None = Field(description="Give it as `after` to get the next page; null on the last")


@router.get("", summary="Read the audit log", response_model=AuditPage)
def read_audit(
    _: Admin,
    db: InjectedDb,
    owner: Annotated[str | None, Query(max_length=64, description="Only what this owner's keys did")] = None,
    actor: Annotated[str | None, Query(max_length=300, description="Only what this key or subject did")] = None,
    action: Annotated[str | None, Query(max_length=200, description="Only this route or tool")] = None,
    outcome: Annotated[str | None, Query(max_length=100, description="Only `ok`, or this code")] = None,
    since: Annotated[datetime | None, Query(description="Only what happened since then")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most")] = 100,
    after: Annotated[str | None, Query(max_length=100, description="The `nextCursor` of the page before")] = None,
) -> AuditPage:
    """Who changed something or was refused, newest first; what was only read is not written down."""
    found, cursor = audit.page(
        db, owner=owner, actor=actor, action=action, outcome=outcome, since=since, limit=limit, after=after
    )
    entries = tuple(AuditEntry.model_validate(entry.model_dump(exclude={"expires_at"})) for entry in found)
    return AuditPage(entries=entries, next_cursor=cursor)
