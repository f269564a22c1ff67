"""The `provider_authorizations` collection: authorisations that users have begun at a provider and not yet ended."""

from __future__ import annotations

import hashlib
from datetime import datetime

from pydantic import Field
from pymongo import IndexModel

from shared.clock import now
from shared.model import Db, Record

COLLECTION = "provider_authorizations"


class Authorization(Record):
    """What is known of an authorisation under way; the code verifier never leaves this side."""

    id: str = Field(alias="_id")  # a hash of the state, so that nobody who reads the database can end it
    owner: str
    user_id: str
    redirect_uri: str
    sealed_verifier: str
    expires_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel("expiresAt", expireAfterSeconds=0)])


def authorization_id(owner: str, state: str) -> str:
    """Return the key under which an owner's authorisation stands."""
    return hashlib.sha256(f"{owner}/{state}".encode()).hexdigest()


def insert(db: Db, one: Authorization) -> None:
    """Store an authorisation that begins."""
    db[COLLECTION].insert_one(one.to_document())


def take(db: Db, owner: str, state: str) -> Authorization | None:
    """Return an authorisation that may still be ended, to one caller only; None where there is none."""
    document = db[COLLECTION].find_one_and_delete({"_id": authorization_id(owner, state)})
    found = Authorization.from_document(document) if document else None
    return found if found is not None and found.expires_at > now() else None
