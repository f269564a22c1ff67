"""The `api_keys` collection: who may come in; of each key its hash alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from shared.access import Scope
from shared.clock import now
from shared.errors import KeyNotFound
from shared.model import Db, Record, known_members

COLLECTION = "api_keys"


class StoredKey(Record):
    """A key that was given out."""

    id: str = Field(alias="_id")  # the part of the key that is no secret
    digest: str = Field(repr=False)  # SHA-256 of the whole key
    owner: str
    scopes: Annotated[tuple[Scope, ...], known_members(Scope)]
    name: str = ""  # what it is for, in its maker's words
    created_by: str  # the actor that made it
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None  # to the minute

    def is_valid(self, moment: datetime) -> bool:
        """Whether it opens anything at this moment."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel([("owner", ASCENDING), ("createdAt", ASCENDING)])])


def insert(db: Db, key: StoredKey) -> None:
    """Store a new key."""
    db[COLLECTION].insert_one(key.to_document())


def find(db: Db, key_id: str) -> StoredKey | None:
    """Return a key, or None."""
    document = db[COLLECTION].find_one({"_id": key_id})
    return StoredKey.from_document(document) if document else None


def find_all(db: Db, owner: str | None = None) -> Sequence[StoredKey]:
    """Return the keys of an owner, or of all, oldest first, the revoked and expired ones included."""
    query = {} if owner is None else {"owner": owner}
    found = db[COLLECTION].find(query).sort([("owner", ASCENDING), ("createdAt", ASCENDING)])
    return [StoredKey.from_document(document) for document in found]


def has_valid(db: Db) -> bool:
    """Whether any key opens anything now."""
    return any(key.is_valid(now()) for key in find_all(db))


def revoke(db: Db, key_id: str) -> StoredKey:
    """Let a key open nothing any more; a second time changes nothing. Raises `KeyNotFound`."""
    db[COLLECTION].update_one({"_id": key_id, "revokedAt": None}, {"$set": {"revokedAt": now()}})
    key = find(db, key_id)
    if key is None:
        raise KeyNotFound(f"There is no key {key_id!r}.")
    return key


def note_use(db: Db, key_id: str, moment: datetime) -> None:
    """Keep when a key was used last."""
    db[COLLECTION].update_one({"_id": key_id}, {"$set": {"lastUsedAt": moment}})


def owners(db: Db) -> list[str]:
    """Return every owner that a key was made for."""
    return [str(owner) for owner in db[COLLECTION].distinct("owner")]
