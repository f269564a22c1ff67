"""Who else knows the features of a track, and where all processes keep what they know of those services in Redis."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from limits import RateLimitItem, parse_many
from redis import Redis
from redis.exceptions import RedisError

from shared.errors import WrongSetting
from shared.redis_client import impatient_redis
from shared.settings import Settings

REDIS_TIMEOUT_SECONDS = 0.5
RedisLost = (RedisError, OSError)
"""What any command may raise; everything goes on without Redis, more slowly."""

FIELDS = (
    *("danceability", "energy", "key", "loudness", "mode", "speechiness", "acousticness", "instrumentalness"),
    *("liveness", "valence", "tempo", "time_signature", "duration_ms"),
)
"""The features that providers are asked for, by Spotify's names."""


class Provider(StrEnum):
    """Who is asked."""

    SPOTIFY = "spotify"
    RECCOBEATS = "reccobeats"
    LOCAL = "local"  # audio on the workers' disks
    RECCOBEATS_UPLOAD = "reccobeats_upload"  # ReccoBeats again, which is sent the beginning of that audio
    CLIENT = "client"  # nobody: a client has written the document, and does not say whose values they are


ASKED = tuple(one for one in Provider if one is not Provider.CLIENT)
UPLOADS = "analysis"
"""The endpoint of ReccoBeats that is sent audio, where the operator lets it."""
ENDPOINTS: Mapping[Provider, tuple[str, ...]] = {
    Provider.SPOTIFY: (
        *("audio-features", "tracks", "track", "playlist", "playlist-items", "playlist-tracks"),
        *("recently-played", "token"),
    ),
    Provider.RECCOBEATS: ("audio-features", "track", UPLOADS),
}
"""What of each service is used; each has a circuit breaker of its own."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """So many calls in so much time, however that is laid over the clock."""

    calls: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account with a provider, whose budget all its users share."""

    provider: Provider
    name: str  # tells accounts apart, and no secret
    windows: tuple[Window, ...]

    @property
    def prefix(self) -> str:
        """Where its keys in Redis begin; braces keep them in one slot of a cluster."""
        return f"backline:providers:{{{self.provider.value}:{self.name}}}"

    @property
    def pause_key(self) -> str:
        """Until when the provider wants to be left alone."""
        return f"{self.prefix}:pause"

    @property
    def count_key(self) -> str:
        """Since when its calls are counted, and until when nobody may call because some are not."""
        return f"{self.prefix}:count"

    def breaker_key(self, endpoint: str) -> str:
        """Return where the state of an endpoint's circuit breaker stands."""
        return f"{self.prefix}:breaker:{endpoint}"

    def log_keys(self) -> list[str]:
        """Return where the calls within each window are kept."""
        return [f"{self.prefix}:calls:{window.calls}:{window.seconds:g}" for window in self.windows]


def accounts(settings: Settings) -> dict[Provider, Account]:
    """Return the accounts that the settings speak of. Raises `WrongSetting`."""
    client = settings.spotify_client_id or "none"
    return {
        Provider.SPOTIFY: Account(
            provider=Provider.SPOTIFY,
            name=hashlib.sha256(client.encode()).hexdigest()[:12],
            windows=_windows("BACKLINE_SPOTIFY_BUDGET", settings.spotify_budget),
        ),
        Provider.RECCOBEATS: Account(
            provider=Provider.RECCOBEATS,
            name="anybody",
            windows=_windows("BACKLINE_RECCOBEATS_BUDGET", settings.reccobeats_budget),
        ),
    }


def asked_accounts(settings: Settings) -> tuple[Account, ...]:
    """Return the accounts that this installation asks: Spotify only with an app of its own."""
    return tuple(
        account
        for provider, account in accounts(settings).items()
        if provider is not Provider.SPOTIFY or settings.spotify_client_id
    )


def _windows(name: str, text: str) -> tuple[Window, ...]:
    try:
        return tuple(_window(item) for item in parse_many(text))
    except ValueError:
        raise WrongSetting(f"The setting {name} is wrong: write it as '10 per second; 100 per minute'.") from None


def _window(item: RateLimitItem) -> Window:
    return Window(calls=item.amount, seconds=item.get_expiry())


def checked_providers(names: Iterable[str]) -> tuple[Provider, ...]:
    """Return providers by their names, in that order. Raises `WrongSetting`."""
    known = ", ".join(ASKED)
    try:
        found = tuple(dict.fromkeys(Provider(name) for name in names))
        if Provider.CLIENT in found:
            raise ValueError("a client is nobody to ask")
        return found
    except ValueError as error:
        raise WrongSetting(f"BACKLINE_FEATURE_PROVIDERS is wrong: {error}; known are {known}.") from None


def connect_redis(settings: Settings) -> Redis | None:
    """Return a client that gives up soon; None where there is no Redis. Open it after a fork."""
    if settings.redis_url is None:
        return None
    return impatient_redis(settings.redis_url, seconds=REDIS_TIMEOUT_SECONDS)


def breaker_state(fields: Mapping[Any, Any], now_ms: int) -> str:
    """Return what a circuit breaker's hash in Redis says: closed, open or half_open."""
    opened_until = fields.get(b"open_until")
    if opened_until is None:
        return "closed"
    return "open" if int(opened_until) > now_ms else "half_open"


def redis_now_ms(client: Any) -> int:
    """Return the time of Redis in milliseconds, the one clock that all processes share."""
    seconds, micros = client.time()
    return int(seconds) * 1000 + int(micros) // 1000
