"""Spotify on behalf of a user who has connected their account."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import requests
import spotipy

from shared.model import Db
from shared.settings import Settings
from shared.token_journal import TokenJournal
from workers.providers.endpoints import Endpoints
from workers.providers.errors import Malformed, Revoked
from workers.providers.line import Line
from workers.providers.spotify_answers import TokenExpired, answered
from workers.providers.tokens import UserToken, UserTokens

RECENTLY = "recently-played"
PLAYS_MAX = 50
"""So many plays a call tells of; Spotify remembers no more than these."""
Found = TypeVar("Found")


class SpotifyUsers:
    """Asks Spotify for whichever users have connected their accounts."""

    def __init__(self, line: Line, endpoints: Endpoints, journal: TokenJournal, db: Db, settings: Settings) -> None:
        """Prepare; nothing is read."""
        self._line = line
        self._endpoints = endpoints
        self._settings = settings
        self._session = requests.Session()
        self.tokens = UserTokens(line, journal, db, settings, self._session)

    def of(self, owner: str, user_id: str) -> SpotifyUser:
        """Return the side of one user."""
        return SpotifyUser(owner, user_id, self.tokens, self._line, self._endpoints, self._settings, self._session)

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


class SpotifyUser:
    """Asks Spotify as one user."""

    def __init__(
        self,
        owner: str,
        user_id: str,
        tokens: UserTokens,
        line: Line,
        endpoints: Endpoints,
        settings: Settings,
        session: requests.Session,
    ) -> None:
        """Prepare; nothing is read."""
        self._owner, self._user_id = owner, user_id
        self._tokens = tokens
        self._line = line
        self._endpoints = endpoints
        self._settings = settings
        self._session = session

    @property
    def identity(self) -> str:
        """Who asks: what one user sees is not for others."""
        return f"{self._owner}/{self._user_id}"

    def call(self, endpoint: str, ask: Callable[[spotipy.Spotify], Found]) -> Found:
        """Return an answer, with a fresh token where the old one is not accepted. Raises `ProviderError`."""
        token = self._tokens.get(self._owner, self._user_id)
        try:
            try:
                return self._once(endpoint, token, ask)
            except TokenExpired:
                token = self._tokens.get(self._owner, self._user_id, refused=token)
                return self._once(endpoint, token, ask)
        except TokenExpired as error:
            self._tokens.give_up(token, error.message)
            raise Revoked(error.message, status=401) from None
        except Revoked as error:
            self._tokens.give_up(token, error.message)
            raise

    def _once(self, endpoint: str, token: UserToken, ask: Callable[[spotipy.Spotify], Found]) -> Found:
        client = spotipy.Spotify(
            auth=token.access,
            requests_session=self._session,
            requests_timeout=self._timeouts,
            retries=0,
            status_retries=0,
        )
        client.prefix = self._settings.spotify_url
        return self._line.call(endpoint, lambda: answered(lambda: ask(client)))

    @property
    def _timeouts(self) -> Any:
        return self._settings.provider_connect_seconds, self._settings.provider_timeout_seconds

    def recently_played(self, after_ms: int | None) -> Sequence[Mapping[str, Any]]:
        """Return plays behind a time, as Spotify tells them, up to `PLAYS_MAX`. Raises `ProviderError`."""
        found = self.call(RECENTLY, lambda client: client.current_user_recently_played(PLAYS_MAX, after=after_ms))
        if not isinstance(found, dict) or not isinstance(found.get("items"), list):
            raise Malformed("Spotify's answer is not what its documentation says.")
        self._endpoints.open(RECENTLY)
        return [one for one in found["items"] if isinstance(one, dict)]
