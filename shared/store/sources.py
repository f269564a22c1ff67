"""The `sources` collection of a library: what the file of an import was when its job began."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from shared.clock import now
from shared.model import Db, Record

COLLECTION = "sources"


class Source(Record):
    """A file that rows are imported from; with another size or time it is another file."""

    job_id: str = Field(alias="_id")
    size: int  # bytes
    mtime_ns: int
    expires_at: datetime  # behind any retry of the job


def ensure_indexes(library: Db) -> None:
    """Create the indexes of this collection."""
    library[COLLECTION].create_indexes([IndexModel("expiresAt", expireAfterSeconds=0)])


def begin(library: Db, job_id: str, *, size: int, mtime_ns: int, keeps: timedelta) -> Source:
    """Return what a job's file was at the first call, which is this one if there was none."""
    first = Source(job_id=job_id, size=size, mtime_ns=mtime_ns, expires_at=now() + keeps)
    with suppress(DuplicateKeyError):
        library[COLLECTION].insert_one(first.to_document())
        return first
    return Source.from_document(library[COLLECTION].find_one({"_id": job_id}) or first.to_document())
