"""Keys at the door: looked up by the part that is no secret, held against the stored hash, believed for seconds."""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import timedelta
from typing import NamedTuple

from anyio import to_thread

from api.connection import Connection
from shared.access import ALL_SCOPES, DEFAULT_OWNER, Principal
from shared.clock import now
from shared.errors import NotAuthenticated
from shared.keys import KeyText, parse_key
from shared.store import keys
from shared.store.keys import StoredKey

BELIEVED_SECONDS = 5.0
"""For how long a key is not looked up again: so long may a revoked one still open a door that it has opened before."""
BELIEVED_MAX = 10_000
USE_INTERVAL = timedelta(minutes=1)  # how exactly it is kept when a key was used last
REFUSAL = "The key is unknown, revoked or expired."


class _Believed(NamedTuple):
    key: StoredKey
    principal: Principal
    until: float


class Keyring:
    """The keys of this installation: those in MongoDB, and the one in the key file."""

    def __init__(self, file_key: KeyText | None, connection: Connection) -> None:
        """Know the key of the file, which opens everything."""
        self._file_key = file_key
        self._connection = connection
        self._believed: dict[bytes, _Believed] = {}  # by the hash of the whole key
        self._asking: dict[bytes, asyncio.Task[Principal]] = {}  # those that are being looked up

    async def principal(self, text: str) -> Principal:
        """Return whose key this is. Raises `NotAuthenticated`."""
        digest = hashlib.sha256(text.encode()).digest()
        believed = self._believed.get(digest)
        if believed is not None and time.monotonic() < believed.until and believed.key.is_valid(now()):
            return believed.principal
        key = parse_key(text)
        if key is None:
            raise NotAuthenticated("What was sent as a key has not the form of one.")
        if self._file_key is not None and key.fits(self._file_key.digest):
            return Principal(owner=DEFAULT_OWNER, scopes=ALL_SCOPES, actor=f"key:{key.id}")
        asking = self._asking.get(digest)
        if asking is None:  # a thousand requests that come together ask once
            asking = self._asking[digest] = asyncio.create_task(self._looked_up(key, digest))
            asking.add_done_callback(lambda _: self._asking.pop(digest))
        return await asyncio.shield(asking)

    async def _looked_up(self, key: KeyText, digest: bytes) -> Principal:
        stored = await to_thread.run_sync(keys.find, self._connection.db, key.id)
        moment = now()
        # One answer for all, so that nobody learns which keys there are.
        if stored is None or not key.fits(stored.digest) or not stored.is_valid(moment):
            raise NotAuthenticated(REFUSAL)
        principal = Principal(owner=stored.owner, scopes=frozenset(stored.scopes), actor=f"key:{key.id}")
        self._believe(digest, stored, principal)
        if stored.last_used_at is None or moment - stored.last_used_at >= USE_INTERVAL:
            await to_thread.run_sync(keys.note_use, self._connection.db, key.id, moment)
        return principal

    def _believe(self, digest: bytes, key: StoredKey, principal: Principal) -> None:
        if len(self._believed) >= BELIEVED_MAX:
            self._believed.clear()
        self._believed[digest] = _Believed(key, principal, time.monotonic() + BELIEVED_SECONDS)
