"""People with accounts at the fake Spotify: what they allow, their tokens, their playlists, what they have played."""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from urllib.parse import urlencode

PLAYS_KEPT = 50


@dataclass(kw_only=True)
class Account:
    """One person."""

    name: str
    plays: list[tuple[datetime, str]] = field(default_factory=list)  # when, which track
    is_revoked: bool = False  # they have taken the right back


@dataclass(kw_only=True)
class Playlist:
    """A playlist, of which each place is what Spotify would say of it."""

    name: str
    places: list[Any]
    private_to: str | None = None  # whose it is, where others don't see it


@dataclass(frozen=True, kw_only=True)
class _Code:
    account: str
    challenge: str
    redirect_uri: str


def place(track_id: str, *, key: str = "item", artist: str = "Nobody", **more: Any) -> dict[str, Any]:
    """Return what stands at a place of a playlist, in the new form or (`key="track"`) the old one."""
    track = {"id": track_id, "type": "track", "name": f"Song {track_id}", "duration_ms": 200_000, "popularity": 50}
    return {"is_local": False, key: {**track, "artists": [{"name": artist}], **more}}


class Accounts:
    """Everybody, and the authorisation server that they meet."""

    def __init__(self) -> None:
        self.people: dict[str, Account] = {}
        self.playlists: dict[str, Playlist] = {}
        self.closed_paths: dict[str, int] = {}  # items or tracks, and how it is refused
        self.signed_in = "ada"  # whose browser comes
        self.says_no = False
        self.script: deque[Any] = deque()  # replies of the token endpoint, in their order; None is the truth
        self.refreshes = 0
        self.expires_in = 3600
        self.rotates = True
        self._codes: dict[str, _Code] = {}
        self._access: dict[str, str] = {}  # token -> account
        self._refresh: dict[str, str] = {}
        self._given = 0
        self._lock = Lock()

    def person(self, name: str) -> Account:
        return self.people.setdefault(name, Account(name=name))

    def token_reply(self) -> Any:
        with self._lock:
            return self.script.popleft() if self.script else None

    def authorize(self, query: Mapping[str, str]) -> str:
        """Return where the browser of whoever is signed in is sent."""
        if self.says_no:
            answer = {"error": "access_denied"}
        else:
            assert query["response_type"] == "code"
            assert query["code_challenge_method"] == "S256"
            code = f"code-{len(self._codes) + 1}"
            self._codes[code] = _Code(
                account=self.signed_in, challenge=query["code_challenge"], redirect_uri=query["redirect_uri"]
            )
            answer = {"code": code}
        return f"{query['redirect_uri']}?{urlencode({**answer, 'state': query['state']})}"

    def tokens(self, form: Mapping[str, str]) -> dict[str, Any]:
        """Return what the token endpoint answers."""
        with self._lock:
            if form["grant_type"] == "authorization_code":
                return self._of_code(form)
            return self._of_refresh(form)

    def _of_code(self, form: Mapping[str, str]) -> dict[str, Any]:
        found = self._codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if found is None or found.challenge != challenge or found.redirect_uri != form["redirect_uri"]:
            return {"error": "invalid_grant"}
        return self._give(found.account)

    def _of_refresh(self, form: Mapping[str, str]) -> dict[str, Any]:
        account = self._refresh.get(form["refresh_token"])
        if account is None or self.person(account).is_revoked:
            return {"error": "invalid_grant", "error_description": "Refresh token revoked"}
        self.refreshes += 1
        if self.rotates:
            del self._refresh[form["refresh_token"]]
        return self._give(account)

    def _give(self, account: str) -> dict[str, Any]:
        self._given += 1
        access, refresh = f"access-{account}-{self._given}", f"refresh-{account}-{self._given}"
        self._access[access], self._refresh[refresh] = account, account
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": "playlist-read-collaborative playlist-read-private user-read-recently-played",
        }

    def expire(self) -> None:
        """Let no access token that was given be good any more."""
        self._access.clear()

    def of_token(self, token: str) -> Account | None:
        account = self._access.get(token)
        return None if account is None or self.person(account).is_revoked else self.person(account)

    def answer(self, path: str, query: Mapping[str, str], token: str) -> tuple[int, Any]:
        """Return status and body of a call about playlists or plays."""
        account = self.of_token(token)
        if path == "me/player/recently-played":
            return (200, _recently(account, query)) if account is not None else (403, None)
        _, playlist_id, *rest = path.split("/")
        playlist = self.playlists.get(playlist_id)
        if rest and rest[0] in self.closed_paths:
            return self.closed_paths[rest[0]], None
        if playlist is None or (playlist.private_to and (account is None or account.name != playlist.private_to)):
            return 404, None
        if not rest:
            return 200, {"name": playlist.name, "owner": {"display_name": "Somebody"}}
        return 200, _page(
            playlist, int(query["offset"]), int(query["limit"]), key="item" if rest[0] == "items" else "track"
        )


def _page(playlist: Playlist, offset: int, limit: int, *, key: str) -> dict[str, Any]:
    other = "track" if key == "item" else "item"
    places = [
        {key: one[other], **{name: value for name, value in one.items() if name != other}}
        if isinstance(one, dict) and other in one
        else one
        for one in playlist.places[offset : offset + limit]
    ]
    more = offset + limit < len(playlist.places)
    return {"items": places, "next": "http://there.is/more" if more else None, "total": len(playlist.places)}


def _recently(account: Account, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the last plays behind a time, the newest first; no more than the last fifty are known."""
    after = int(query.get("after", 0))
    kept = sorted(account.plays, reverse=True)[:PLAYS_KEPT]
    found = [(at, track) for at, track in kept if at.timestamp() * 1000 > after][: int(query["limit"])]
    items = [
        {"track": {"id": track}, "played_at": at.astimezone(UTC).isoformat().replace("+00:00", "Z")}
        for at, track in found
    ]
    return {"items": items, "next": None}
