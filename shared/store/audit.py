"""The `audit` collection: who did what, from where, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field
from pymongo import IndexModel

from shared.clock import new_id
from shared.model import Db, Json, Record
from shared.store import newest
from shared.store.newest import newest_first

COLLECTION = "audit"
NEWEST_FIRST = newest_first("at")


class Entry(Record):
    """One thing that somebody did, or was not let do."""

    id: str = Field(alias="_id", default_factory=lambda: new_id("audit"))
    at: datetime
    owner: str | None  # None where nobody knows who asked
    actor: str | None  # a key's id, or an issuer's subject
    door: str  # rest or mcp
    action: str  # the route's or the tool's name
    target: str | None = None  # the id or name of what it was done to
    address: str | None  # where the request came from
    outcome: str  # ok, or the code of the problem that was answered
    status: int | None = None  # of HTTP
    expires_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel(NEWEST_FIRST),
            IndexModel("expiresAt", expireAfterSeconds=0),
        ]
    )


def insert(db: Db, entries: Sequence[Entry]) -> None:
    """Store entries, up to a thousand; one that is there already, for its answer was lost, stays as it is."""
    # The bare command: entries are many and small, and what `insert_many` does with each costs as much as storing it.
    db.command("insert", COLLECTION, documents=[entry.to_document() for entry in entries], ordered=False)


def page(
    db: Db,
    *,
    owner: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    outcome: str | None = None,
    since: datetime | None = None,
    limit: int,
    after: str | None = None,
) -> tuple[list[Entry], str | None]:
    """Return some entries, newest first, and the cursor of the next page. Raises `InvalidCursor`."""
    wanted = {"owner": owner, "actor": actor, "action": action, "outcome": outcome}
    query: Json = {name: value for name, value in wanted.items() if value is not None}
    found, cursor = newest.page(db[COLLECTION], query, field="at", limit=limit, after=after, since=since)
    return [Entry.from_document(document) for document in found], cursor
