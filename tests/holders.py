"""People with keys: owners who must not see each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import httpx

from shared.access import Scope
from shared.clock import now
from shared.keys import new_key
from shared.model import Db
from shared.store import keys
from shared.store.keys import StoredKey
from tests.api_server import bearer

EVERYDAY = tuple(scope for scope in Scope if scope not in (Scope.METRICS, Scope.ADMIN))


@dataclass(frozen=True, kw_only=True)
class Holder:
    """An owner's key, as the owner has it."""

    owner: str
    id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.key)


def give_key(db: Db, owner: str, scopes: Sequence[Scope] = EVERYDAY, *, expires_at: datetime | None = None) -> Holder:
    """Store a key and return it."""
    key = new_key()
    stored = StoredKey(
        id=key.id,
        digest=key.digest,
        owner=owner,
        scopes=tuple(scopes),
        created_by="test",
        created_at=now(),
        expires_at=expires_at,
    )
    keys.insert(db, stored)
    return Holder(owner=owner, id=key.id, key=key.text)


@contextmanager
def client_of(holder: Holder, base_url: httpx.URL | str) -> Iterator[httpx.Client]:
    """Give a client that sends this key."""
    with httpx.Client(base_url=base_url, headers=holder.headers, timeout=20.0, trust_env=False) as client:
        yield client
