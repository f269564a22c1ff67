"""The `provider_endpoints` collection: which endpoints of a provider this app may not use, as it was learnt."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field
from pymongo import IndexModel

from shared.clock import now
from shared.model import Db, Record

COLLECTION = "provider_endpoints"


class Endpoint(Record):
    """Whether an endpoint may be used, as it was seen last."""

    id: str = Field(alias="_id")  # account's prefix : endpoint
    provider: str
    endpoint: str
    is_open: bool
    reason: str | None = None
    learnt_at: datetime
    expires_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel("expiresAt", expireAfterSeconds=0)])


def find_all(db: Db) -> list[Endpoint]:
    """Return what is known and not too old."""
    found = db[COLLECTION].find().sort("_id", 1)
    return [one for document in found if (one := Endpoint.from_document(document)).expires_at > now()]


def find(db: Db, endpoint_id: str) -> Endpoint | None:
    """Return what is known of an endpoint, unless that is too old."""
    document = db[COLLECTION].find_one({"_id": endpoint_id})
    found = Endpoint.from_document(document) if document else None
    return found if found is not None and found.expires_at > now() else None


def learn(
    db: Db, account: str, provider: str, endpoint: str, *, is_open: bool, reason: str | None = None, kept: timedelta
) -> None:
    """Remember whether an endpoint may be used."""
    moment = now()
    known = Endpoint(
        id=f"{account}:{endpoint}",
        provider=provider,
        endpoint=endpoint,
        is_open=is_open,
        reason=reason,
        learnt_at=moment,
        expires_at=moment + kept,
    )
    db[COLLECTION].replace_one({"_id": known.id}, known.to_document(), upsert=True)
