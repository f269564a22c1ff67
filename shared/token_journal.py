"""Tokens on their way from the provider to the database: noted in Redis first.

A refresh token is good once, so what a worker that dies takes with it is lost, and the user would have to connect
anew. Of two places that are written one after the other the first holds it within a millisecond of the answer; and
while the database is down, the second attempt finds it there.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from redis import Redis

from shared.providers import RedisLost
from shared.store.connections import Connection

logger = logging.getLogger(__name__)

PREFIX = "backline:providers:tokens"
KEPT = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class NotedTokens:
    """Tokens as they are stored: encrypted."""

    sealed: str = field(repr=False)
    expires_at: datetime


class TokenJournal:
    """Notes refreshed tokens until they are stored; without Redis there is none, and only the database."""

    def __init__(self, redis: Redis | None) -> None:
        """Prepare; nothing is read."""
        self._redis = redis

    def note(self, known: Connection, tokens: NotedTokens) -> None:
        """Note what takes the place of a connection's tokens."""
        entry = {"of": _state(known), "sealed": tokens.sealed, "expiresAt": tokens.expires_at.isoformat()}
        try:
            if self._redis is not None:
                self._redis.set(_place(known.id), json.dumps(entry), px=KEPT)
        except RedisLost as error:
            logger.warning("refreshed tokens could not be noted: %s", type(error).__name__)

    def find(self, known: Connection) -> NotedTokens | None:
        """Return what was noted of a connection as it is now; None where that is stored, or another account's."""
        try:
            text = None if self._redis is None else cast(bytes | None, self._redis.get(_place(known.id)))
        except RedisLost:
            return None
        entry = json.loads(text) if text else {}
        if entry.get("of") != _state(known):
            return None
        return NotedTokens(sealed=entry["sealed"], expires_at=datetime.fromisoformat(entry["expiresAt"]))

    def forget(self, connection_id: str) -> None:
        """Forget what is stored by now, or what nobody wants any more."""
        try:
            if self._redis is not None:
                self._redis.delete(_place(connection_id))
        except RedisLost:
            logger.warning("a note about tokens stays until its time is up")


def _place(connection_id: str) -> str:
    return f"{PREFIX}:{connection_id}"


def _state(known: Connection) -> str:
    """Return what changes when the user connects anew, or the tokens are stored."""
    return f"{known.connected_at.isoformat()} {known.revision}"
