"""Spotify, by spotipy, with its own retries off: they sleep for as long as the service says, without a bound."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import requests
import spotipy
from spotipy.cache_handler import MemoryCacheHandler
from spotipy.exceptions import SpotifyException, SpotifyOauthError
from spotipy.oauth2 import SpotifyClientCredentials

from shared.ladder import known_values
from shared.providers import Provider
from shared.settings import Settings
from workers.providers.endpoints import Endpoints
from workers.providers.errors import (
    BadCredentials,
    EndpointClosed,
    Malformed,
    ProviderError,
    Refused,
    Throttled,
    Transient,
)
from workers.providers.line import Line
from workers.providers.service import PAUSE_SECONDS, QUOTA_PAUSE_SECONDS, Metadata, retry_after_seconds

FEATURES, TRACKS, TRACK = "audio-features", "tracks", "track"
TRACKS_MAX = 50
ID = re.compile(r"[0-9A-Za-z]{22}")
QUOTA = "QUOTA_EXCEEDED"
CLOSED = frozenset((403, 404, 410))
"""What an endpoint answers that this app may not use (any more)."""
Found = TypeVar("Found")

# It logs each error that it raises, too, with the whole address.
logging.getLogger("spotipy.client").setLevel(logging.CRITICAL)


class TokenExpired(ProviderError):
    """The access token is not accepted; a fresh one may be."""

    code = "provider_token"


class Spotify:
    """Asks Spotify as an app, without any user."""

    provider = Provider.SPOTIFY

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
        return ID.fullmatch(track_id) is not None

    def features(self, track_ids: Sequence[str]) -> Mapping[str, Mapping[str, float | int]]:
        """Return what it knows, by track id. Raises `ProviderError`."""
        found = self._call(FEATURES, lambda: _without_warnings(lambda: self._client.audio_features(list(track_ids))))
        return _by_id(found, frozenset(track_ids))

    def metadata(self, track_ids: Sequence[str]) -> Mapping[str, Metadata]:
        """Return what the tracks are, by track id; one by one where batches are closed. Raises `ProviderError`."""
        try:
            found: list[Any] = []
            for start in range(0, len(track_ids), TRACKS_MAX):
                some = list(track_ids[start : start + TRACKS_MAX])
                found += self._call(TRACKS, partial(self._batch, some))
        except EndpointClosed:
            found = [self._call(TRACK, partial(self._client.track, one)) for one in track_ids]
        return {one["id"]: _metadata(one) for one in found if isinstance(one, dict) and one.get("id")}

    def _batch(self, track_ids: list[str]) -> list[Any]:
        found: list[Any] = self._client.tracks(track_ids)["tracks"]
        return found

    def _call(self, endpoint: str, ask: Callable[[], Found]) -> Found:
        self._endpoints.check(endpoint)
        try:
            try:
                found = self._line.call(endpoint, lambda: _answered(ask))
            except TokenExpired:
                self._refresh()
                found = self._line.call(endpoint, lambda: _answered(ask))
        except TokenExpired as error:
            self._endpoints.close_soon(endpoint, "the credentials are not accepted")
            raise BadCredentials(error.message, status=401) from None
        except BadCredentials:
            self._endpoints.close_soon(endpoint, "the credentials are not accepted")
            raise
        except EndpointClosed as error:
            self._endpoints.close(endpoint, error.message)
            raise
        self._endpoints.open(endpoint)
        return found

    def _refresh(self) -> None:
        _answered(lambda: self._credentials.get_access_token(as_dict=False, check_cache=False))

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


def _without_warnings(ask: Callable[[], Found]) -> Found:
    """Keep to ourselves that Spotify gives these features to few: that is why there are other providers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return ask()


def _answered(ask: Callable[[], Found]) -> Found:
    """Return an answer, or raise what went wrong in our words."""
    try:
        return ask()
    except SpotifyException as error:
        raise _in_our_words(error) from None
    except SpotifyOauthError as error:
        if error.error in ("invalid_client", "invalid_grant", "unauthorized_client"):
            raise BadCredentials("Spotify does not accept the app's credentials.", status=400) from None
        raise Transient("Spotify gives no access token.") from None
    except requests.exceptions.JSONDecodeError:
        raise Malformed("Spotify's answer is no JSON.") from None
    except requests.exceptions.RequestException as error:  # a timeout, a broken connection, half an answer
        raise Transient(f"Spotify can't be reached: {type(error).__name__}.") from None
    except (TypeError, AttributeError, KeyError, ValueError):
        # spotipy takes every body for what it should be.
        raise Malformed("Spotify's answer is not what its documentation says.") from None


def _in_our_words(error: SpotifyException) -> ProviderError:
    status = error.http_status
    wait = (error.headers or {}).get("Retry-After")
    if QUOTA in f"{error.reason} {error.msg}":
        seconds = retry_after_seconds(wait, QUOTA_PAUSE_SECONDS)
        return Throttled("The quota at Spotify is spent.", seconds=seconds, is_quota=True)
    if status == requests.codes.too_many_requests:
        seconds = retry_after_seconds(wait, PAUSE_SECONDS)
        return Throttled(f"Spotify wants {seconds:.0f} s of rest.", seconds=seconds)
    if status == requests.codes.unauthorized:
        return TokenExpired("Spotify does not accept the access token.")
    if status in CLOSED:
        return EndpointClosed(f"This app may not use it at Spotify ({status}).", status=status)
    if status >= 500:
        return Transient(f"Spotify answers {status}.")
    return Refused(f"Spotify answers {status}.", status=status)


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
