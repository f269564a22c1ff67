"""The `provider_connections` collection: accounts of users at Spotify that we may act for, their tokens encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import Field
from pymongo import ASCENDING, IndexModel, ReturnDocument

from shared.clock import now
from shared.model import Db, Json, Record

COLLECTION = "provider_connections"


class ConnectionStatus(StrEnum):
    """How a connection is."""

    CONNECTED = "connected"
    RECONNECT = "reconnect"  # the provider takes the tokens no longer: the user has to connect anew


class Connection(Record):
    """One user's account at Spotify."""

    id: str = Field(alias="_id")  # owner/userId
    owner: str
    user_id: str
    status: ConnectionStatus
    reason: str | None = None  # why the user has to connect anew
    sealed_tokens: str
    scopes: tuple[str, ...]
    token_expires_at: datetime
    revision: int  # moves on with each refresh: a refresh token is good for one
    history_after: int | None = None  # Unix time in ms up to which the plays are stored
    connected_at: datetime
    updated_at: datetime


def connection_id(owner: str, user_id: str) -> str:
    """Return the key under which a user's connection stands; an owner's name has no slash."""
    return f"{owner}/{user_id}"


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel([("owner", ASCENDING), ("userId", ASCENDING)]),
            # Compare-and-set by id, for servers that use an index only if it covers the whole filter.
            IndexModel([("_id", ASCENDING), ("revision", ASCENDING), ("refreshFreeAt", ASCENDING)]),
            IndexModel([("_id", ASCENDING), ("revision", ASCENDING), ("refresher", ASCENDING)]),
            IndexModel([("_id", ASCENDING), ("connectedAt", ASCENDING)]),
        ]
    )


def save_new(
    db: Db, owner: str, user_id: str, *, sealed_tokens: str, scopes: tuple[str, ...], token_expires_at: datetime
) -> Connection:
    """Store a connection, in place of the user's earlier one, and return it; whose plays it knows is not known yet."""
    moment = now()
    values: Json = {
        "owner": owner,
        "userId": user_id,
        "status": ConnectionStatus.CONNECTED.value,
        "reason": None,
        "sealedTokens": sealed_tokens,
        "scopes": list(scopes),
        "tokenExpiresAt": token_expires_at,
        "historyAfter": None,
        "connectedAt": moment,
        "updatedAt": moment,
        **_free(),
    }
    document: Any = db[COLLECTION].find_one_and_update(
        {"_id": connection_id(owner, user_id)},
        {"$set": values, "$inc": {"revision": 1}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    return Connection.from_document(document)


def _free() -> Json:
    """Return the fields that let anybody refresh the tokens."""
    return {"refresher": None, "refreshFreeAt": now()}


def find(db: Db, owner: str, user_id: str) -> Connection | None:
    """Return a user's connection, or None."""
    document = db[COLLECTION].find_one({"_id": connection_id(owner, user_id)})
    return Connection.from_document(document) if document else None


def find_all(db: Db, owner: str) -> list[Connection]:
    """Return the connections of an owner's users, by user."""
    return [Connection.from_document(one) for one in db[COLLECTION].find({"owner": owner}).sort("userId", ASCENDING)]


def connected_user_ids(db: Db, owner: str, *, after: str = "") -> Iterator[str]:
    """Yield the ids of an owner's users that are connected, in their order behind one."""
    query = {"owner": owner, "userId": {"$gt": after}}
    for document in db[COLLECTION].find(query, {"userId": 1, "status": 1}).sort("userId", ASCENDING):
        if document["status"] == ConnectionStatus.CONNECTED.value:
            yield document["userId"]


def begin_refresh(db: Db, known: Connection, refresher: str, *, hold: timedelta) -> bool:
    """Let one process alone refresh these tokens; False where another one is at it, or has done it."""
    query = {"_id": known.id, "revision": known.revision, "refreshFreeAt": {"$lte": now()}}
    change = {"$set": {"refresher": refresher, "refreshFreeAt": now() + hold}}
    return db[COLLECTION].update_one(query, change).modified_count == 1


def end_refresh(db: Db, known: Connection, *, sealed_tokens: str, token_expires_at: datetime) -> None:
    """Store refreshed tokens, unless the user has connected anew meanwhile.

    Whoever comes with an answer has the only tokens that are good: also if it took them too long, and another one
    was refused with the old ones.
    """
    changes = {
        "status": ConnectionStatus.CONNECTED.value,
        "reason": None,
        "sealedTokens": sealed_tokens,
        "tokenExpiresAt": token_expires_at,
        "updatedAt": now(),
        **_free(),
    }
    query = {"_id": known.id, "revision": known.revision}
    db[COLLECTION].update_one(query, {"$set": changes, "$inc": {"revision": 1}})


def give_up_refresh(db: Db, known: Connection, refresher: str) -> None:
    """Let others try: there was no answer."""
    query = {"_id": known.id, "revision": known.revision, "refresher": refresher}
    db[COLLECTION].update_one(query, {"$set": _free()})


def ask_to_reconnect(db: Db, known: Connection, reason: str) -> None:
    """Note that the user has to connect anew, unless they have done so meanwhile."""
    changes = {"status": ConnectionStatus.RECONNECT.value, "reason": reason, "updatedAt": now(), **_free()}
    db[COLLECTION].update_one({"_id": known.id, "revision": known.revision}, {"$set": changes})


def move_history(db: Db, known: Connection, after_ms: int) -> None:
    """Note up to when the plays are stored; it never moves back, and belongs to this connection alone."""
    query = {"_id": known.id, "connectedAt": known.connected_at}
    db[COLLECTION].update_one(query, {"$max": {"historyAfter": after_ms}})


def delete(db: Db, owner: str, user_id: str) -> bool:
    """Forget a user's connection; False where there was none."""
    return db[COLLECTION].delete_one({"_id": connection_id(owner, user_id)}).deleted_count == 1
