"""The routes about other providers of features: how they are, where they disagree, and what is cached of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field
from redis import Redis

from api.access.visit import Admin, Reader
from api.services import InjectedDb, InjectedServices, Services
from shared import cache, cache_use
from shared.errors import InvalidCursor, ServiceUnavailable
from shared.ladder import CONFIDENCE
from shared.model import Body, Json
from shared.provider_state import AccountState, read_state
from shared.providers import (
    ENDPOINTS,
    FIELDS,
    UPLOADS,
    Account,
    Provider,
    RedisLost,
    accounts,
    checked_providers,
    connect_redis,
)
from shared.store import disagreements, provider_endpoints
from shared.store.database import StoreError, library
from shared.store.provider_endpoints import Endpoint

router = APIRouter(prefix="/api", tags=["providers"])

_BUDGET: Json = {"calls": 100, "seconds": 60.0, "remaining": 87}
_ENDPOINT: Json = {
    "name": "audio-features",
    "open": False,
    "reason": "This app may not use it at Spotify (403).",
    "learntAt": "2026-11-21T12:00:00Z",
    "forgottenAt": "2026-11-22T12:00:00Z",
    "breaker": "closed",
}


class Budget(Body):
    """How many calls all workers together may make in any time of this length."""

    calls: int
    seconds: float
    remaining: int | None = Field(description="Null while Redis, which counts, does not answer")


class EndpointStatus(Body):
    """One endpoint of a provider."""

    name: str
    open: bool | None = Field(description="Whether this app may use it; null until that is learnt")
    reason: str | None = Field(description="Why not")
    learnt_at: datetime | None
    forgotten_at: datetime | None = Field(description="When it is tried anew")
    breaker: str | None = Field(description="closed, open (left alone) or half_open (tried); null without Redis")


class ProviderStatus(Body):
    """One provider of features."""

    name: Provider
    place: int | None = Field(description="When its turn is on the ladder, from 0; null where it has none")
    configured: bool = Field(description="Whether there are credentials, where it wants any")
    confidence: float | None = Field(description="How sure its values count as; null where each value says so itself")
    budgets: tuple[Budget, ...]
    endpoints: tuple[EndpointStatus, ...]
    paused_seconds: float | None = Field(description="For how long it wants to be left alone; null without Redis")
    quota_spent: bool


class Providers(Body):
    """Who is asked for the features of a track id."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "providers": [
                        {
                            "name": "spotify",
                            "place": 0,
                            "configured": True,
                            "confidence": 0.8,
                            "budgets": [_BUDGET],
                            "endpoints": [_ENDPOINT],
                            "pausedSeconds": 0.0,
                            "quotaSpent": False,
                        }
                    ]
                }
            ]
        }
    )

    providers: tuple[ProviderStatus, ...]


class FeatureDisagreement(Body):
    """One feature of one track of which two providers say different things."""

    user_id: str
    track_id: str
    field: str
    kept: Provider = Field(description="Whose value stands in the features")
    kept_value: float | int
    other: Provider
    other_value: float | int
    seen_at: datetime


class DisagreementPage(Body):
    """Some disagreements, by track."""

    disagreements: tuple[FeatureDisagreement, ...]
    next_cursor: str | None = Field(description="Give it as `after` to get the next page; null on the last")


class KindStats(Body):
    """What the cache is worth for one kind of data; hit_rate is null until somebody has asked."""

    model_config = ConfigDict(alias_generator=None)

    hit_rate: float | None
    hits: int
    misses: int
    stale: int


class TopKey(Body):
    """A key that is asked for often."""

    key: str
    hits: int


class CacheStats(Body):
    """What the cache of others' answers is worth."""

    model_config = ConfigDict(alias_generator=None)

    hit_rate: float | None
    by_kind: dict[str, KindStats]
    total_entries: int
    memory_usage: int = Field(description="Bytes of the answers that are kept")
    evictions: int = Field(description="Keys that Redis has thrown away for want of memory")
    top_keys: tuple[TopKey, ...]


class Invalidated(Body):
    """How many answers were forgotten."""

    invalidated: int


@router.get("/providers", summary="Who is asked for features, and how they are", response_model=Providers)
def list_providers(_: Reader, services: InjectedServices) -> Providers:
    """Which providers there are, which of their endpoints this app may use, their budgets and circuit breakers."""
    order = checked_providers(services.settings.feature_providers)
    known = accounts(services.settings)
    learnt = _learnt(services)
    with_accounts = [_status(services, account, order, learnt) for account in known.values()]
    local = ProviderStatus(
        name=Provider.LOCAL,
        place=_place(Provider.LOCAL, order),
        configured=bool(services.settings.music_roots),
        confidence=None,
        budgets=(),
        endpoints=(),
        paused_seconds=0.0,
        quota_spent=False,
    )
    return Providers(providers=(*with_accounts, local))


def _learnt(services: Services) -> dict[str, Endpoint]:
    try:
        return {one.id: one for one in provider_endpoints.find_all(services.connection.unchecked_db)}
    except StoreError:
        return {}


def _status(
    services: Services, account: Account, order: tuple[Provider, ...], learnt: dict[str, Endpoint]
) -> ProviderStatus:
    settings, provider = services.settings, account.provider
    state = _state(services, account)
    has_credentials = bool(settings.spotify_client_id and settings.spotify_client_secret)
    left = state.remaining if state else (None,) * len(account.windows)
    return ProviderStatus(
        name=provider,
        place=_place(provider, order),
        configured=provider is not Provider.SPOTIFY or has_credentials,
        confidence=CONFIDENCE[provider],
        budgets=tuple(
            Budget(calls=window.calls, seconds=window.seconds, remaining=remaining)
            for window, remaining in zip(account.windows, left, strict=True)
        ),
        endpoints=tuple(
            _endpoint(name, learnt.get(f"{account.prefix}:{name}"), state)
            for name in ENDPOINTS[provider]
            if name != UPLOADS or settings.reccobeats_upload
        ),
        paused_seconds=round(state.paused_seconds, 1) if state else None,
        quota_spent=bool(state and state.is_quota and state.paused_seconds),
    )


def _endpoint(name: str, known: Endpoint | None, state: AccountState | None) -> EndpointStatus:
    return EndpointStatus(
        name=name,
        open=known.is_open if known else None,
        reason=known.reason if known else None,
        learnt_at=known.learnt_at if known else None,
        forgotten_at=known.expires_at if known else None,
        breaker=state.breakers[name] if state else None,
    )


def _place(provider: Provider, order: tuple[Provider, ...]) -> int | None:
    return order.index(provider) if provider in order else None


def _state(services: Services, account: Account) -> AccountState | None:
    redis = connect_redis(services.settings)
    if redis is None:
        return None
    try:
        with redis:
            return read_state(redis, account)
    except RedisLost:
        return None


@router.get(
    "/features/disagreements", summary="Where providers disagree", response_model=DisagreementPage, tags=["providers"]
)
def list_disagreements(
    who: Reader,
    db: InjectedDb,
    user_id: Annotated[
        str, Query(alias="userId", min_length=1, max_length=256, description="A user of yours")
    ] = "local",
    field: Annotated[str | None, Query(description=f"Only this feature: {', '.join(FIELDS)}", max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most")] = 100,
    after: Annotated[str | None, Query(max_length=1024, description="The `nextCursor` of the page before")] = None,
) -> DisagreementPage:
    """Features of a user's tracks of which two providers say different things, and whose value was kept."""
    if after is not None and not after.startswith(f"{user_id}{disagreements.SEPARATOR}"):
        raise InvalidCursor(f"{after!r} is no cursor of this list.")
    found, cursor = disagreements.page(library(db, who.owner), user_id, field=field, after=after, limit=limit)
    shown = tuple(FeatureDisagreement.model_validate(one.model_dump(exclude={"id"})) for one in found)
    return DisagreementPage(disagreements=shown, next_cursor=cursor)


@router.get("/cache/stats", name="cache_stats", summary="What the cache is worth", response_model=CacheStats)
def cache_stats(_: Admin, services: InjectedServices) -> CacheStats:
    """Hit rates, entries, bytes, evictions, and what is asked for most, of all owners together."""
    with _redis(services) as redis:
        try:
            return CacheStats.model_validate(cache_use.stats(redis))
        except RedisLost:
            raise _no_redis() from None


@router.delete("/cache", name="invalidate_cache", summary="Forget what others said", response_model=Invalidated)
def invalidate_cache(
    _: Admin,
    services: InjectedServices,
    tag: Annotated[
        str,
        Query(
            min_length=1,
            max_length=256,
            description="What the answers carry: `track:ID`, `playlist:ID`, `user:ID`; a `*` at its end means any rest",
        ),
    ],
) -> Invalidated:
    """Answers with this tag are fetched anew when they are asked for next."""
    with _redis(services) as redis:
        try:
            return Invalidated(invalidated=cache.invalidate(redis, tag))
        except RedisLost:
            raise _no_redis() from None


def _redis(services: Services) -> Redis:
    redis = connect_redis(services.settings)
    if redis is None:
        raise _no_redis()
    return redis


def _no_redis() -> ServiceUnavailable:
    return ServiceUnavailable("Redis, which holds the cache, does not answer.")
