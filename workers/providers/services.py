"""The services of one worker process, opened when they are first needed: after the fork."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from celery.signals import worker_process_shutdown

from shared.cache import Cache
from shared.model import Db
from shared.providers import Provider, accounts, connect_redis
from shared.settings import Settings
from shared.token_journal import TokenJournal
from workers.providers.endpoints import Endpoints
from workers.providers.flights import Flights
from workers.providers.gate import Gate
from workers.providers.line import Line
from workers.providers.reccobeats import ReccoBeats
from workers.providers.service import FeatureService
from workers.providers.spotify import Spotify
from workers.providers.spotify_user import SpotifyUsers
from workers.providers.track_names import TrackNames


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services that the settings have credentials for, and what is to be closed with them."""

    settings: Settings
    by_provider: Mapping[Provider, FeatureService]
    reccobeats: ReccoBeats
    spotify_app: Spotify | None
    spotify_users: SpotifyUsers | None  # whose accounts are connected
    endpoints: Endpoints  # of Spotify
    cache: Cache
    flights: Flights
    connections: ExitStack

    def names(self) -> TrackNames:
        """Return who asks these services what tracks are."""
        return TrackNames(self.by_provider, self.flights, self.cache)


_opened: Services | None = None


def services(settings: Settings, db: Db) -> Services:
    """Return this process's services, opened with the first call. Raises `WrongSetting`."""
    global _opened
    if _opened is None or _opened.settings is not settings:
        close_services()
        _opened = _open(settings, db)
    return _opened


def close_services(**_: Any) -> None:
    """Let go of the connections."""
    global _opened
    if _opened is not None:
        _opened.connections.close()
        _opened = None


# The process need not know of it: beat and Flower load the tasks as well, and have no provider's packages.
worker_process_shutdown.connect(close_services)


def _open(settings: Settings, db: Db) -> Services:
    known = accounts(settings)
    connections = ExitStack()
    redis = connect_redis(settings)
    if redis is not None:
        connections.callback(redis.close)
    lines = {provider: Line(Gate(account, redis, settings), settings) for provider, account in known.items()}
    reccobeats = ReccoBeats(lines[Provider.RECCOBEATS], settings)
    connections.callback(reccobeats.close)
    found: dict[Provider, FeatureService] = {Provider.RECCOBEATS: reccobeats}
    endpoints = Endpoints(db, known[Provider.SPOTIFY], settings)
    app = users = None
    if settings.spotify_client_id and settings.spotify_client_secret:
        found[Provider.SPOTIFY] = app = Spotify(lines[Provider.SPOTIFY], endpoints, settings)
        connections.callback(app.close)
    if settings.spotify_client_id:
        users = SpotifyUsers(lines[Provider.SPOTIFY], endpoints, TokenJournal(redis), db, settings)
        connections.callback(users.close)
    return Services(
        settings=settings,
        by_provider=found,
        reccobeats=reccobeats,
        spotify_app=app,
        spotify_users=users,
        endpoints=endpoints,
        cache=Cache(redis),
        flights=Flights(redis, settings),
        connections=connections,
    )
