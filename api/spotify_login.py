"""The routes by which users connect their accounts at Spotify: authorisation code with PKCE (RFC 7636).

The page that Spotify sends the user's browser back to is the client's own, who ends the authorisation here with its
key. So no route has to be open to browsers, and nobody can have a stranger's account connected to a user of theirs:
whoever ends it must be who began it.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Annotated, Any

import requests
from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field, model_validator
from spotipy.cache_handler import MemoryCacheHandler
from spotipy.exceptions import SpotifyOauthError
from spotipy.oauth2 import SpotifyPKCE

from api.access.visit import Reader, Writer
from api.problems import Problem
from api.services import InjectedDb, InjectedServices
from shared.cache import invalidate_exactly
from shared.clock import now
from shared.errors import AuthorizationNotFound, AuthorizationRefused, ProviderNotSetUp, ServiceUnavailable
from shared.model import Body
from shared.providers import RedisLost, connect_redis
from shared.sealing import sealer_of
from shared.settings import Settings
from shared.spotify_login import SCOPES, Tokens
from shared.store import authorizations, connections
from shared.store.authorizations import Authorization
from shared.store.connections import Connection
from shared.token_journal import TokenJournal

STATE_BYTES = 32
KEPT = timedelta(minutes=10)
"""For so long an authorisation that was begun can be ended."""
ANSWER_SECONDS = 5.0
"""How long Spotify may take to exchange a code."""

router = APIRouter(prefix="/api/spotify", tags=["providers"])

State = Annotated[str, Path(description="The `state` that came back with the user's browser", max_length=256)]
UserId = Annotated[str, Path(description="A user of yours", max_length=256)]
NOT_SET_UP: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "There is no app at Spotify, or the user said no"}
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "No such authorisation is under way (any more)"}
}


class NewAuthorization(Body):
    """Whose account is to be connected, and where Spotify sends their browser afterwards."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"userId": "ada", "redirectUri": "https://echotune.example/callback"}]}
    )

    user_id: str = Field(min_length=1, max_length=256)
    redirect_uri: str = Field(
        pattern="^https?://", max_length=2048, description="A page of yours that is registered with the app at Spotify"
    )


class BegunAuthorization(Body):
    """Where the user goes to say yes."""

    success: bool = True
    authorize_url: str = Field(description="Send the user's browser there")
    state: str = Field(description="Comes back with the browser; check that it is the one of this user's session")
    expires_at: datetime = Field(description="Until then it can be ended, once")


class AuthorizationAnswer(Body):
    """What the user's browser brought back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "AQB2..."}, {"error": "access_denied"}]})

    code: str | None = Field(default=None, min_length=1, max_length=4096)
    error: str | None = Field(default=None, min_length=1, max_length=256)

    @model_validator(mode="after")
    def _has_one(self) -> AuthorizationAnswer:
        if (self.code is None) == (self.error is None):
            raise ValueError("give either code or error")
        return self


class UserConnection(Body):
    """How a user's account is connected."""

    user_id: str
    status: str = Field(description="connected, reconnect (the user has to connect anew) or not_connected")
    reason: str | None = Field(default=None, description="Why the user has to connect anew")
    scopes: tuple[str, ...] = ()
    connected_at: datetime | None = None
    history_until: datetime | None = Field(default=None, description="Up to when the plays are stored")


class ConnectionAnswer(Body):
    """One connection."""

    success: bool = True
    connection: UserConnection


class ConnectionList(Body):
    """The connections of all your users."""

    success: bool = True
    connections: tuple[UserConnection, ...]


class Forgotten(Body):
    """What became of a connection that is not wanted any more."""

    success: bool = True
    forgotten: bool = Field(description="Whether there was one")


@router.post(
    "/authorizations",
    name="begin_spotify_authorization",
    summary="Begin to connect a user's account at Spotify",
    status_code=201,
    response_model=BegunAuthorization,
    responses=NOT_SET_UP,
)
def begin_authorization(
    who: Writer, db: InjectedDb, services: InjectedServices, body: NewAuthorization
) -> BegunAuthorization:
    """Say where the user's browser goes. The code verifier stays here, for ten minutes and one use."""
    sealer = sealer_of(services.settings)
    login = _login(services.settings, body.redirect_uri)
    state = secrets.token_urlsafe(STATE_BYTES)
    url = login.get_authorize_url(state)
    begun = Authorization(
        id=authorizations.authorization_id(who.owner, state),
        owner=who.owner,
        user_id=body.user_id,
        redirect_uri=body.redirect_uri,
        sealed_verifier=sealer.seal(login.code_verifier),
        expires_at=now() + KEPT,
    )
    authorizations.insert(db, begun)
    return BegunAuthorization(authorize_url=url, state=state, expires_at=begun.expires_at)


@router.post(
    "/authorizations/{state}",
    name="end_spotify_authorization",
    summary="End the authorisation with what the browser brought back",
    response_model=ConnectionAnswer,
    responses={**NOT_SET_UP, **NOT_FOUND},
)
def end_authorization(
    who: Writer, db: InjectedDb, services: InjectedServices, state: State, body: AuthorizationAnswer
) -> ConnectionAnswer:
    """Exchange the code for tokens, which are kept encrypted. A state serves once, whatever comes of it."""
    begun = authorizations.take(db, who.owner, state)
    if begun is None:
        raise AuthorizationNotFound("No such authorisation is under way.")
    if body.code is None:
        raise AuthorizationRefused(f"The user's account is not connected: {body.error}.")
    sealer = sealer_of(services.settings)
    login = _login(services.settings, begun.redirect_uri)
    login.code_verifier = sealer.open(begun.sealed_verifier)
    tokens = _exchanged(login, body.code)
    known = connections.save_new(
        db,
        who.owner,
        begun.user_id,
        sealed_tokens=tokens.sealed(sealer),
        scopes=tokens.scopes,
        token_expires_at=tokens.expires_at,
    )
    _forget_former(services.settings, known.id, begun.user_id)
    return ConnectionAnswer(connection=_shown(known))


def _login(settings: Settings, redirect_uri: str) -> SpotifyPKCE:
    """Return spotipy's side of the exchange, with a verifier of its own. Raises `ProviderNotSetUp`."""
    if not settings.spotify_client_id:
        raise ProviderNotSetUp("There is no app at Spotify that users could authorise.")
    login = SpotifyPKCE(
        client_id=settings.spotify_client_id,
        redirect_uri=redirect_uri,
        scope=" ".join(SCOPES),
        requests_timeout=min(settings.provider_timeout_seconds, ANSWER_SECONDS),
        open_browser=False,
        cache_handler=MemoryCacheHandler(),
    )
    login.OAUTH_AUTHORIZE_URL = settings.spotify_authorize_url
    login.OAUTH_TOKEN_URL = settings.spotify_token_url
    login.get_pkce_handshake_parameters()
    return login


def _exchanged(login: SpotifyPKCE, code: str) -> Tokens:
    """Return the tokens that a code is good for. Raises `AuthorizationRefused`, `ServiceUnavailable`."""
    try:
        login.get_access_token(code, check_cache=False)
        return Tokens.of(login.cache_handler.get_cached_token())
    except SpotifyOauthError as error:
        if error.error in ("invalid_grant", "invalid_client", "invalid_request", "unauthorized_client"):
            raise AuthorizationRefused(f"Spotify does not accept what came back from it: {error.error}.") from None
        raise ServiceUnavailable("Spotify does not exchange the code now.") from None
    except (requests.exceptions.RequestException, KeyError, TypeError, ValueError):
        raise ServiceUnavailable("Spotify does not exchange the code now.") from None


@router.get("/connections", summary="List connected accounts", response_model=ConnectionList)
def list_spotify_connections(who: Reader, db: InjectedDb) -> ConnectionList:
    """The accounts at Spotify of your users, and whether they have to be connected anew."""
    return ConnectionList(connections=tuple(map(_shown, connections.find_all(db, who.owner))))


@router.get("/connections/{user_id}", summary="Ask about a user's account", response_model=ConnectionAnswer)
def read_spotify_connection(who: Reader, db: InjectedDb, user_id: UserId) -> ConnectionAnswer:
    """Whether a user's account at Spotify is connected; nothing of the tokens is shown to anybody."""
    known = connections.find(db, who.owner, user_id)
    shown = UserConnection(user_id=user_id, status="not_connected") if known is None else _shown(known)
    return ConnectionAnswer(connection=shown)


@router.delete("/connections/{user_id}", summary="Forget a user's account", response_model=Forgotten)
def forget_spotify_connection(who: Writer, db: InjectedDb, services: InjectedServices, user_id: UserId) -> Forgotten:
    """Delete the tokens. What was read with them stays; users take the right itself back in their account."""
    forgotten = connections.delete(db, who.owner, user_id)
    _forget_former(services.settings, connections.connection_id(who.owner, user_id), user_id)
    return Forgotten(forgotten=forgotten)


def _forget_former(settings: Settings, connection_id: str, user_id: str) -> None:
    """Forget what Redis holds of an account that is the user's no longer: another one may come in its place."""
    redis = connect_redis(settings)
    if redis is None:
        return
    with redis, suppress(*RedisLost):
        TokenJournal(redis).forget(connection_id)
        invalidate_exactly(redis, f"user:{user_id}")


def _shown(known: Connection) -> UserConnection:
    after = known.history_after
    return UserConnection(
        user_id=known.user_id,
        status=known.status.value,
        reason=known.reason,
        scopes=known.scopes,
        connected_at=known.connected_at,
        history_until=None if after is None else datetime.fromtimestamp(after / 1000, known.connected_at.tzinfo),
    )
