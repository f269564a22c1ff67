"""The routes of keys: made, listed, revoked, by those who may."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from api.access.visit import Admin
from api.problems import Problem
from api.services import InjectedDb
from shared.access import DEFAULT_OWNER, OWNER_PATTERN, Scope, checked_new_owner
from shared.clock import now
from shared.keys import new_key
from shared.model import Body, Json
from shared.store import keys
from shared.store.keys import StoredKey

DAYS_MAX = 3660

router = APIRouter(prefix="/api/keys", tags=["keys"])

KeyId = Annotated[str, Path(description="The key's id", examples=["k3v7q2m4xa"], max_length=64)]
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such key"}}
_EXAMPLE: Json = {
    "id": "k3v7q2m4xa",
    "owner": "echotune",
    "scopes": ["jobs:read", "jobs:write"],
    "name": "the web shop",
    "createdBy": "key:2mxa4k3v7q",
    "createdAt": "2026-11-21T12:00:00Z",
    "expiresAt": "2027-02-19T12:00:00Z",
    "revokedAt": None,
    "lastUsedAt": None,
}


class NewKey(Body):
    """Whose key, and what it lets its holder do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"owner": "echotune", "scopes": ["jobs:read"], "expiresDays": 90}]}
    )

    owner: str = Field(
        default=DEFAULT_OWNER, pattern=OWNER_PATTERN, description="Whose jobs, schedules and library it opens"
    )
    scopes: tuple[Scope, ...] = Field(min_length=1, description="What its holder may do")
    name: str = Field(default="", max_length=200, description="What it is for, in your words")
    expires_days: float | None = Field(
        default=None, gt=0, le=DAYS_MAX, description="Days after which it opens nothing any more; null for never"
    )


class Key(Body):
    """A key, without what makes it one."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    owner: str
    scopes: tuple[Scope, ...]
    name: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute")


class MadeKey(Key):
    """A key that was just made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_EXAMPLE, "key": "backline_k3v7q2m4xa_(43 characters that are shown once)"}]}
    )

    key: str = Field(repr=False, description="The key itself, which is stored nowhere: this is the only time to see it")


class KeyList(Body):
    """Every key, oldest first, by owner."""

    keys: tuple[Key, ...]


def _document(key: StoredKey) -> Key:
    return Key.model_validate(key.model_dump(exclude={"digest"}))


@router.post(
    "",
    summary="Make a key",
    status_code=201,
    response_model=MadeKey,
    responses={
        201: {"headers": {"Location": {"description": "Where it can be revoked", "schema": {"type": "string"}}}}
    },
)
def create_key(who: Admin, db: InjectedDb, response: Response, body: NewKey) -> MadeKey:
    """The key is in this answer and nowhere else: only its hash is stored."""
    owner = checked_new_owner(body.owner)
    key, moment = new_key(), now()
    stored = StoredKey(
        id=key.id,
        digest=key.digest,
        owner=owner,
        scopes=tuple(sorted(set(body.scopes))),
        name=body.name,
        created_by=who.actor,
        created_at=moment,
        expires_at=None if body.expires_days is None else moment + timedelta(days=body.expires_days),
    )
    keys.insert(db, stored)
    response.headers["Location"] = f"/api/keys/{key.id}"
    return MadeKey.model_validate({**_document(stored).model_dump(), "key": key.text})


@router.get("", summary="List keys", response_model=KeyList)
def list_keys(
    _: Admin,
    db: InjectedDb,
    owner: Annotated[str | None, Query(max_length=64, description="Only keys of this owner")] = None,
) -> KeyList:
    """Every key, the revoked and expired ones included; of none more than its id."""
    return KeyList(keys=tuple(_document(key) for key in keys.find_all(db, owner)))


@router.delete("/{key_id}", summary="Revoke a key", response_model=Key, responses=NOT_FOUND)
def revoke_key(_: Admin, db: InjectedDb, key_id: KeyId) -> Key:
    """It opens nothing any more, within seconds at every front door; revoking it again changes nothing."""
    return _document(keys.revoke(db, key_id))
