"""How the cache is used: what is asked for most, how often it has the answer, and how much it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from redis import Redis

from shared.cache import COUNTS, ENTRIES, PREFIX, RECIPES, SIZES, TOP, CacheKind
from shared.model import Json
from shared.providers import redis_now_ms

HEAD_BYTES = 64
TOP_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """An entry that is asked for often."""

    key: str
    recipe: Json  # how it is fetched
    hits: int
    fresh_seconds: float  # for so long it stays fresh; below 0 where it is behind its time, or gone


def most_wanted(redis: Redis, limit: int) -> list[Wanted]:
    """Return the entries that are asked for most and can be fetched again, the first first."""
    now_ms = _forget_expired(redis)
    top = cast(Any, redis.zrevrange(TOP, 0, -1, withscores=True))
    recipes = cast(Any, redis.hmget(RECIPES, [place for place, _ in top])) if top else []
    known = [(place, recipe, hits) for (place, hits), recipe in zip(top, recipes, strict=True) if recipe][:limit]
    with redis.pipeline(transaction=False) as together:
        for place, _, _ in known:
            together.getrange(place, 0, HEAD_BYTES)
        heads = together.execute()
    return [
        Wanted(
            key=place.decode().removeprefix(f"{PREFIX}:"),
            recipe=json.loads(recipe),
            hits=int(hits),
            fresh_seconds=(_fresh_until(head) - now_ms) / 1000,
        )
        for (place, recipe, hits), head in zip(known, heads, strict=True)
    ]


def _fresh_until(head: bytes) -> float:
    text = head.partition(b"}")[0]
    return float(json.loads(text + b"}")["fresh_until"]) if text else 0.0


def _forget_expired(redis: Redis) -> int:
    """Forget all about what Redis has dropped; return its time in milliseconds."""
    now_ms = redis_now_ms(redis)
    expired = cast(Any, redis.zrangebyscore(ENTRIES, "-inf", now_ms))
    if expired:
        redis.hdel(SIZES, *expired)
        redis.hdel(RECIPES, *expired)
        redis.zrem(TOP, *expired)  # else what nobody asks for any more would keep new keys out
        redis.zrem(ENTRIES, *expired)
    return now_ms


@dataclass(frozen=True, kw_only=True)
class CacheCounts:
    """What the cache has done since Redis was empty, and how much it holds."""

    lookups: Mapping[str, Mapping[str, int]]  # kind -> hits, misses, stale (after a miss) -> how often
    entries: int
    size: int  # bytes


def counts(redis: Redis) -> CacheCounts:
    """Return the cache's counters. Raises what `RedisLost` names."""
    _forget_expired(redis)
    known = {name.decode(): int(count) for name, count in cast(Any, redis.hgetall(COUNTS)).items()}
    return CacheCounts(
        lookups={
            kind.value: {what: known.get(f"{what}:{kind.value}", 0) for what in ("hits", "misses", "stale")}
            for kind in CacheKind
        },
        entries=redis.zcard(ENTRIES),
        size=sum(int(size) for size in cast(Any, redis.hvals(SIZES))),
    )


def stats(redis: Redis) -> Json:
    """Return the hit rate in all and of each kind, entries, bytes, Redis' evictions, and the keys asked for most."""
    _forget_expired(redis)
    counts = {name.decode(): int(count) for name, count in cast(Any, redis.hgetall(COUNTS)).items()}
    hits, misses = (sum(_of(counts, what).values()) for what in ("hits", "misses"))
    top = cast(Any, redis.zrevrange(TOP, 0, TOP_SHOWN - 1, withscores=True))
    return {
        "hit_rate": _rate(hits, misses),
        "by_kind": {kind.value: _kind_stats(counts, kind.value) for kind in CacheKind},
        "total_entries": redis.zcard(ENTRIES),
        "memory_usage": sum(int(size) for size in redis.hvals(SIZES)),
        "evictions": int(cast(Any, redis.info("stats"))["evicted_keys"]),
        "top_keys": [{"key": key.decode().removeprefix(f"{PREFIX}:"), "hits": int(score)} for key, score in top],
    }


def _kind_stats(counts: Mapping[str, int], kind: str) -> Json:
    hits, misses, stale = (counts.get(f"{what}:{kind}", 0) for what in ("hits", "misses", "stale"))
    return {"hit_rate": _rate(hits, misses), "hits": hits, "misses": misses, "stale": stale}


def _of(counts: Mapping[str, int], what: str) -> dict[str, int]:
    return {name: count for name, count in counts.items() if name.startswith(f"{what}:")}


def _rate(hits: int, misses: int) -> float | None:
    return round(hits / (hits + misses), 4) if hits + misses else None
