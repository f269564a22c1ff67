"""Tokens of users: read, refreshed by one process alone, and given up when Spotify takes them no longer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import requests
from spotipy.cache_handler import MemoryCacheHandler
from spotipy.oauth2 import SpotifyPKCE

from shared.clock import new_id, now
from shared.errors import ProviderNotSetUp
from shared.model import Db
from shared.sealing import SealBroken, sealer_of
from shared.settings import Settings
from shared.spotify_login import Tokens, opened
from shared.store import connections
from shared.store.connections import Connection, ConnectionStatus
from shared.token_journal import NotedTokens, TokenJournal
from workers.providers.errors import BadCredentials, BudgetSpent, Malformed, ProviderError, Revoked
from workers.providers.line import Line, longest_call_seconds
from workers.providers.spotify_answers import answered

ENDPOINT = "token"
SPARE = timedelta(seconds=60)
"""A token that expires sooner is refreshed before it is used."""
OTHERS_REFRESH_SECONDS = 2.0
"""After so long, what another process refreshes is looked for again."""


@dataclass(frozen=True, kw_only=True)
class UserToken:
    """A token that is good now, as far as we know."""

    access: str = field(repr=False)
    known: Connection


class UserTokens:
    """Gives the tokens of connected users. A refresh token is good for one refresh, so nobody does that twice."""

    def __init__(
        self, line: Line, journal: TokenJournal, db: Db, settings: Settings, session: requests.Session
    ) -> None:
        """Prepare; nothing is read."""
        self._line = line
        self._journal = journal
        self._db = db
        self._settings = settings
        self._hold = timedelta(seconds=longest_call_seconds(settings))
        self._session = session

    def is_known(self, owner: str, user_id: str) -> bool:
        """Whether the user has connected their account, also where they have to do so anew."""
        return connections.find(self._db, owner, user_id) is not None

    def get(self, owner: str, user_id: str, *, refused: UserToken | None = None) -> UserToken:
        """Return a user's token, another one than that which was refused.

        Raises:
            Revoked: the user has to connect (anew).
            ProviderError: it has to be refreshed, and that can't be done now.
        """
        known = self._connected(owner, user_id)
        access, refresh = self._opened(known.sealed_tokens)
        is_refused = refused is not None and refused.known.revision == known.revision
        if is_refused or known.token_expires_at < now() + SPARE:
            self._refresh(known, refresh)
            known = self._connected(owner, user_id)  # by somebody else or anew, if they did so meanwhile
            access, _ = self._opened(known.sealed_tokens)
        return UserToken(access=access, known=known)

    def _connected(self, owner: str, user_id: str) -> Connection:
        """Return a user's connection. Raises `Revoked` where there is none that is of use."""
        known = connections.find(self._db, owner, user_id)
        if known is None:
            raise Revoked("The user's account at Spotify is not connected.", status=401)
        if known.status is ConnectionStatus.RECONNECT:
            raise Revoked(known.reason or "The user has to connect anew.", status=401)
        return known

    def give_up(self, token: UserToken, reason: str) -> None:
        """Note that the user has to connect anew."""
        connections.ask_to_reconnect(self._db, token.known, reason)

    def _opened(self, sealed: str) -> tuple[str, str]:
        try:
            return opened(sealer_of(self._settings), sealed)
        except SealBroken as error:  # the key is lost, or this process has another one: that is no fault of the user's
            raise Revoked(error.message, status=401) from None
        except ProviderNotSetUp as error:
            raise BadCredentials(error.message, status=401) from None

    def _refresh(self, known: Connection, refresh: str) -> None:
        """Store fresh tokens: those that somebody has got and could not store, or else new ones."""
        refresher = new_id("refresh")
        if not connections.begin_refresh(self._db, known, refresher, hold=self._hold):
            raise BudgetSpent("Another process refreshes the user's token.", seconds=OTHERS_REFRESH_SECONDS)
        try:
            tokens = self._journal.find(known) or self._line.call(
                ENDPOINT, lambda: answered(lambda: self._asked(known, refresh))
            )
        except Revoked as error:
            connections.ask_to_reconnect(self._db, known, error.message)
            raise
        except ProviderError:
            connections.give_up_refresh(self._db, known, refresher)
            raise
        connections.end_refresh(self._db, known, sealed_tokens=tokens.sealed, token_expires_at=tokens.expires_at)
        self._journal.forget(known.id)

    def _asked(self, known: Connection, refresh: str) -> NotedTokens:
        """Return new tokens, noted before anything else is done: the old ones are good no more."""
        tokens = self._answered(refresh)
        noted = NotedTokens(sealed=tokens.sealed(sealer_of(self._settings)), expires_at=tokens.expires_at)
        self._journal.note(known, noted)
        return noted

    def _answered(self, refresh: str) -> Tokens:
        login = SpotifyPKCE(
            client_id=self._settings.spotify_client_id,
            redirect_uri="unused",  # only those who begin an authorisation need one
            requests_session=self._session,
            requests_timeout=_timeouts(self._settings),
            open_browser=False,
            cache_handler=MemoryCacheHandler(),
        )
        login.OAUTH_TOKEN_URL = self._settings.spotify_token_url
        answer: Any = login.refresh_access_token(refresh)
        if not isinstance(answer, dict):
            raise Malformed("Spotify's answer is not what its documentation says.")
        return Tokens.of(answer)


def _timeouts(settings: Settings) -> Any:
    return settings.provider_connect_seconds, settings.provider_timeout_seconds
