"""What connecting a user's account at Spotify needs on both sides: which rights, and tokens as they are kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.sealing import Sealer

SCOPES = ("playlist-read-collaborative", "playlist-read-private", "user-read-recently-played")
"""What a user is asked for: to read playlists and what was played lately, and nothing that changes anything."""


# It logs each error that it raises, with the whole address, and at level DEBUG tokens and secrets, too.
for name in ("spotipy.client", "spotipy.oauth2"):
    logging.getLogger(name).setLevel(logging.CRITICAL)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What lets its holder act for a user."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_at: datetime
    scopes: tuple[str, ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Tokens:
        """Return the tokens in an answer, as spotipy completes it. Raises `KeyError`, `TypeError`, `ValueError`."""
        return cls(
            access=str(answer["access_token"]),
            refresh=str(answer["refresh_token"]),
            expires_at=datetime.fromtimestamp(int(answer["expires_at"]), UTC),
            scopes=tuple(sorted(str(answer.get("scope") or "").split())),
        )

    def sealed(self, sealer: Sealer) -> str:
        """Return what may be stored of them."""
        return sealer.seal(json.dumps({"access": self.access, "refresh": self.refresh}))


def opened(sealer: Sealer, sealed: str) -> tuple[str, str]:
    """Return the access token and the refresh token of what was stored. Raises `SealBroken`."""
    found = json.loads(sealer.open(sealed))
    return found["access"], found["refresh"]
