"""Spotify, by spotipy, with its own retries off: they sleep for as long as the service says, without a bound."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import requests
import spotipy
from spotipy.cache_handler import MemoryCacheHandler
from spotipy.exceptions import SpotifyException
from spotipy.oauth2 import SpotifyClientCredentials

from shared.ladder import known_values
from shared.providers import Provider
from shared.settings import Settings
from workers.providers.endpoints import Endpoints
from workers.providers.errors import BadCredentials, EndpointClosed, Malformed
from workers.providers.line import Line
from workers.providers.service import Metadata, is_spotify_id
from workers.providers.spotify_answers import TokenExpired, answered

FEATURES, TRACKS, TRACK = "audio-features", "tracks", "track"
TRACKS_MAX = 50
Found = TypeVar("Found")


class Spotify:
    """Asks Spotify as an app, without any user."""

    provider = Provider.SPOTIFY
    identity = "app"

    def __init__(self, line: Line, endpoints: Endpoints, settings: Settings) -> None:
        """Prepare; nothing is sent."""
        self._line = line
        self._endpoints = endpoints
        self.batch_size = settings.spotify_batch_size
        # A session of our own: spotipy's, even told to try nothing again, takes every error of a server for a 429 and
        # loses its Retry-After.
        self._session = requests.Session()
        timeouts: Any = (settings.provider_connect_seconds, settings.provider_timeout_seconds)
        secret = settings.spotify_client_secret
        self._credentials = SpotifyClientCredentials(
            requests_session=self._session,
            client_id=settings.spotify_client_id,
            client_secret=secret and secret.get_secret_value(),
            requests_timeout=timeouts,
            cache_handler=MemoryCacheHandler(),
        )
        self._credentials.OAUTH_TOKEN_URL = settings.spotify_token_url
        self._client = spotipy.Spotify(
            auth_manager=self._credentials,
            requests_session=self._session,
            requests_timeout=timeouts,
            retries=0,
            status_retries=0,
        )
        self._client.prefix = settings.spotify_url

    def takes(self, track_id: str) -> bool:
        """Whether the id is one of Spotify's."""
        return is_spotify_id(track_id)

    def features(self, track_ids: Sequence[str]) -> Mapping[str, Mapping[str, float | int]]:
        """Return what it knows, by track id. Raises `ProviderError`."""
        found = self._remembered(FEATURES, partial(_features, track_ids=list(track_ids)))
        return _by_id(found, frozenset(track_ids))

    @property
    def names_size(self) -> int:
        """Return what how many tracks are one call tells: one where this app may not ask for more."""
        return 1 if self._endpoints.is_closed(TRACKS) else TRACKS_MAX

    def names(self, track_ids: Sequence[str]) -> Mapping[str, Metadata]:
        """Return what some tracks are, by track id. Raises `ProviderError`."""
        if len(track_ids) > 1 or not self._endpoints.is_closed(TRACKS):
            found = self._remembered(TRACKS, partial(_tracks, track_ids=list(track_ids)))
        else:
            found = [self._remembered(TRACK, partial(_track, track_id=one)) for one in track_ids]
        return {one["id"]: _metadata(one) for one in found if isinstance(one, dict) and one.get("id") in track_ids}

    def call(self, endpoint: str, ask: Callable[[spotipy.Spotify], Found]) -> Found:
        """Return an answer, with a fresh token where the old one is not accepted; nothing is remembered of it.

        Raises `ProviderError`.
        """
        try:
            try:
                return self._line.call(endpoint, lambda: answered(lambda: ask(self._client)))
            except TokenExpired:
                self._refresh()
                return self._line.call(endpoint, lambda: answered(lambda: ask(self._client)))
        except TokenExpired as error:
            raise BadCredentials(error.message, status=401) from None

    def _remembered(self, endpoint: str, ask: Callable[[spotipy.Spotify], Found]) -> Found:
        """Return an answer, and remember whether the endpoint is of use."""
        self._endpoints.check(endpoint)
        try:
            found = self.call(endpoint, ask)
        except BadCredentials:
            self._endpoints.close_soon(endpoint, "the credentials are not accepted")
            raise
        except EndpointClosed as error:
            self._endpoints.close(endpoint, error.message)
            raise
        self._endpoints.open(endpoint)
        return found

    def _refresh(self) -> None:
        answered(lambda: self._credentials.get_access_token(as_dict=False, check_cache=False))

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


def _features(client: spotipy.Spotify, *, track_ids: list[str]) -> Any:
    """Keep to ourselves that Spotify gives these features to few: that is why there are other providers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return client.audio_features(track_ids)


def _tracks(client: spotipy.Spotify, *, track_ids: list[str]) -> list[Any]:
    found: list[Any] = client.tracks(track_ids)["tracks"]
    return found


def _track(client: spotipy.Spotify, *, track_id: str) -> Any:
    """Return a track; one without an id where there is none, which says nothing about the endpoint."""
    try:
        found = client.track(track_id)
    except SpotifyException as error:
        if error.http_status == requests.codes.not_found:
            return {}
        raise
    if not isinstance(found, dict):
        raise TypeError("no track")
    return found


def _metadata(one: Mapping[str, Any]) -> Metadata:
    artists = [artist for artist in one.get("artists") or () if isinstance(artist, dict)]
    length = one.get("duration_ms")
    return Metadata(
        title=str(one.get("name") or ""),
        artists=tuple(str(artist.get("name") or "") for artist in artists),
        isrc=(one.get("external_ids") or {}).get("isrc"),
        seconds=length / 1000 if isinstance(length, int) else None,
    )


def _by_id(found: Any, asked: frozenset[str]) -> dict[str, Mapping[str, float | int]]:
    """Return features by the ids that they name: null where it knows none, and whatever was not asked is no answer."""
    if not isinstance(found, list):
        raise Malformed("Spotify's answer is not what its documentation says.")
    known = [one for one in found if isinstance(one, dict)]
    return {one["id"]: known_values(one) for one in known if one.get("id") in asked}
