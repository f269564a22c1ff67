"""The `exports` collection of a library: what all parts of one export share while it is made."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from shared.clock import now
from shared.model import Db, Record

COLLECTION = "exports"
KEY_BYTES = 32


class Export(Record):
    """An export that is being made."""

    job_id: str = Field(alias="_id")
    key: bytes | None = None  # of its pseudonyms; gone once every part is written
    started_at: datetime
    expires_at: datetime  # when its artifacts go


def ensure_indexes(library: Db) -> None:
    """Create the indexes of this collection."""
    library[COLLECTION].create_indexes([IndexModel("expiresAt", expireAfterSeconds=0)])


def begin(library: Db, job_id: str, *, keeps: timedelta) -> Export:
    """Return the export of a job, which begins with the first call."""
    moment = now()
    first = Export(job_id=job_id, key=secrets.token_bytes(KEY_BYTES), started_at=moment, expires_at=moment + keeps)
    with suppress(DuplicateKeyError):
        library[COLLECTION].insert_one(first.to_document())
        return first
    return Export.from_document(library[COLLECTION].find_one({"_id": job_id}) or first.to_document())


def forget_key(library: Db, job_id: str) -> None:
    """Throw away the key of an export's pseudonyms."""
    library[COLLECTION].update_one({"_id": job_id}, {"$set": {"key": None}})
