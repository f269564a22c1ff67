"""A cache in Redis of what others said: asked for once by all who want it, and kept for when they are down."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, cast

from redis import Redis

from shared.clock import new_id
from shared.model import Json
from shared.providers import RedisLost

logger = logging.getLogger(__name__)

PREFIX = "backline:cache"
ENTRIES, SIZES, COUNTS, TOP = f"{PREFIX}:entries", f"{PREFIX}:sizes", f"{PREFIX}:counts", f"{PREFIX}:top"
RECIPES = f"{PREFIX}:recipes"
"""How what is asked for most can be fetched again by whoever warms the cache, by its key."""
HEAD_BYTES = 64
STALE_SECONDS = 86_400
"""For so long an answer is kept behind its time, for when there is no fresh one."""
TOP_KEPT = 1_000
TOP_SHOWN = 10
POLL_SECONDS = 0.01


class CacheKind(StrEnum):
    """Kinds of data, each with its own time to live."""

    METADATA = "metadata"  # of tracks, albums, artists
    LIBRARY = "library"  # playlists and saved tracks
    PLAYBACK = "playback"  # what somebody hears now
    SEARCH = "search"

    @property
    def seconds(self) -> int:
        """How long an answer is fresh."""
        return TTL_SECONDS[self]


TTL_SECONDS: Mapping[CacheKind, int] = {
    CacheKind.METADATA: 86_400,
    CacheKind.LIBRARY: 300,
    CacheKind.PLAYBACK: 10,
    CacheKind.SEARCH: 3_600,
}

STORE = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local kept = tonumber(ARGV[3]) * 1000
redis.call('SET', KEYS[1], cjson.encode({fresh_until = now + tonumber(ARGV[2]) * 1000}) .. ARGV[1], 'PX', kept)
redis.call('ZADD', KEYS[2], now + kept, KEYS[1])
redis.call('HSET', KEYS[3], KEYS[1], #ARGV[1])
for i = 4, #KEYS do
  redis.call('SADD', KEYS[i], KEYS[1])
  redis.call('PEXPIRE', KEYS[i], math.max(kept, redis.call('PTTL', KEYS[i])))
end
return 1
"""
LOOK = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local text = redis.call('GET', KEYS[1])
if not text then return false end
local stop = string.find(text, '}', 1, true)
local head = cjson.decode(string.sub(text, 1, stop))
return {head.fresh_until > now and 1 or 0, string.sub(text, stop + 1)}
"""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


@dataclass(frozen=True, kw_only=True)
class Cached:
    """An answer, and how good it is."""

    value: Any
    stale: bool = False  # behind its time: there was no fresh one
    degraded: bool = False  # the least that can be said, for there was none at all

    def marks(self) -> Json:
        """Return the fields that tell a client of it, if there is anything to tell."""
        return {name: True for name in ("stale", "degraded") if getattr(self, name)}


class Cache:
    """Asks Redis first; where that is away, everything is fetched."""

    def __init__(self, redis: Redis | None, *, hold_seconds: float = 15.0) -> None:
        """Prepare; whoever fetches may take `hold_seconds`, after which another one tries."""
        self._redis = redis
        self._hold_ms = int(hold_seconds * 1000)
        self._store = None if redis is None else redis.register_script(STORE)
        self._look = None if redis is None else redis.register_script(LOOK)
        self._release = None if redis is None else redis.register_script(RELEASE)

    def get(
        self,
        kind: CacheKind,
        key: str,
        fetch: Callable[[], Any],
        *,
        errors: type[Exception] | tuple[type[Exception], ...],
        tags: Sequence[str] = (),
        minimal: Callable[[], Any] | None = None,
        seconds: float | None = None,
        recipe: Json | None = None,
    ) -> Cached:
        """Return what is known under `key`, or fetch it, once for all who ask at the same time.

        Where fetching raises one of `errors`, an answer behind its time is returned as `stale`, else what `minimal`
        makes, as `degraded`; without either the error is raised. Values are what JSON can hold. A `recipe` says how
        it can be fetched again.
        """
        place = f"{PREFIX}:{kind.value}:{key}"
        try:
            found = self._look_up(place, kind)
            if found is not None and found[0]:
                return Cached(value=found[1])
            token = self._become_fetcher(place)
            if token is None:
                awaited = self._await(place, found)
                if awaited is not None:
                    return awaited
                token = self._become_fetcher(place)  # whoever fetched has failed
            # Somebody may have fetched it between our look and our turn.
            awaited = self._fresh(place)
            if awaited is not None:
                self._give_way(place, token)
                return awaited
        except RedisLost as error:
            logger.warning("nothing is cached: %s", type(error).__name__)
            found = token = None
        keep = partial(self.put, kind, key, tags=tags, seconds=seconds, recipe=recipe)
        return self._fetch(kind, place, token, found, fetch, errors, minimal, keep)

    def _fetch(
        self,
        kind: CacheKind,
        place: str,
        token: str | None,
        found: tuple[bool, Any] | None,
        fetch: Callable[[], Any],
        errors: type[Exception] | tuple[type[Exception], ...],
        minimal: Callable[[], Any] | None,
        keep: Callable[[Any], None],
    ) -> Cached:
        try:
            value = fetch()
        except errors as error:
            logger.info("no fresh answer for %s: %s", place, error)
            if found is not None:
                self._count(kind, "stale")
                return Cached(value=found[1], stale=True)
            if minimal is not None:
                return Cached(value=minimal(), degraded=True)
            raise
        else:
            keep(value)
            return Cached(value=value)
        finally:
            self._give_way(place, token)

    def put(
        self,
        kind: CacheKind,
        key: str,
        value: Any,
        *,
        tags: Sequence[str] = (),
        seconds: float | None = None,
        recipe: Json | None = None,
    ) -> None:
        """Keep an answer, and how it can be fetched again."""
        fresh = kind.seconds if seconds is None else seconds
        places = [f"{PREFIX}:{kind.value}:{key}", ENTRIES, SIZES, *(f"{PREFIX}:tag:{tag}" for tag in tags)]
        try:
            if self._store is not None:
                self._store(keys=places, args=[json.dumps(value), fresh, fresh + STALE_SECONDS])
            if self._redis is not None and recipe is not None:
                self._redis.hset(RECIPES, places[0], json.dumps(recipe))
        except RedisLost as error:
            logger.warning("an answer could not be kept: %s", type(error).__name__)

    def _look_up(self, place: str, kind: CacheKind) -> tuple[bool, Any] | None:
        """Return whether what stands there is fresh, and what it is; None where there is nothing."""
        if self._look is None or self._redis is None:
            return None
        found = self._look(keys=[place])
        is_fresh = bool(found and found[0])
        with self._redis.pipeline(transaction=False) as together:
            together.hincrby(COUNTS, f"{'hits' if is_fresh else 'misses'}:{kind.value}", 1)
            if is_fresh:
                together.zincrby(TOP, 1, place)
                together.zremrangebyrank(TOP, 0, -TOP_KEPT - 1)
            together.execute()
        return (is_fresh, json.loads(found[1])) if found else None

    def _become_fetcher(self, place: str) -> str | None:
        """Return the token of whoever fetches for all; None where somebody else does."""
        token = new_id("fetch")
        if self._redis is None or self._redis.set(f"{place}:fetcher", token, nx=True, px=self._hold_ms):
            return token
        return None

    def _fresh(self, place: str) -> Cached | None:
        """Return what stands there, if it is fresh; nothing is counted."""
        answer = self._look(keys=[place]) if self._look is not None else None
        return Cached(value=json.loads(answer[1])) if answer and answer[0] else None

    def _await(self, place: str, found: tuple[bool, Any] | None) -> Cached | None:
        """Return what somebody else fetches; None where they did not, or take too long."""
        if found is not None:  # better at once
            return Cached(value=found[1], stale=True)
        deadline = time.monotonic() + self._hold_ms / 1000
        redis = cast(Redis, self._redis)
        while time.monotonic() < deadline:
            answer = self._fresh(place)
            if answer is not None:
                return answer
            if not redis.exists(f"{place}:fetcher"):
                return self._fresh(place)  # it may have come between the two looks
            time.sleep(POLL_SECONDS)
        return None

    def _give_way(self, place: str, token: str | None) -> None:
        try:
            if token is not None and self._release is not None:
                self._release(keys=[f"{place}:fetcher"], args=[token])
        except RedisLost:
            logger.warning("a fetcher's mark stays until its time is up")

    def _count(self, kind: CacheKind, what: str) -> None:
        try:
            if self._redis is not None:
                self._redis.hincrby(COUNTS, f"{what}:{kind.value}", 1)
        except RedisLost:
            logger.warning("the cache is not counted while Redis does not answer")


def invalidate(redis: Redis, tag: str) -> int:
    """Forget what carries a tag, `playlist:ID` say, or what a prefix followed by `*` stands for; return how many."""
    tags = [f"{PREFIX}:tag:{tag}".encode()]
    if tag.endswith("*"):
        escaped = "".join(f"\\{one}" if one in "*?[]\\" else one for one in tag[:-1])
        tags = list(redis.scan_iter(match=f"{PREFIX}:tag:{escaped}*", count=1000))
    gone = 0
    for place in tags:
        entries = list(redis.smembers(place))
        with redis.pipeline() as together:
            for entry in entries:
                together.delete(entry)
                together.zrem(ENTRIES, entry)
                together.hdel(SIZES, entry)
                together.hdel(RECIPES, entry)
            together.delete(place)
            done = together.execute()
        gone += sum(int(one) for one in done[: 4 * len(entries) : 4])
    return gone


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
    """Forget the sizes and recipes of what Redis has dropped; return its time in milliseconds."""
    seconds, micros = cast(Any, redis.time())
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    expired = redis.zrangebyscore(ENTRIES, "-inf", now_ms)
    if expired:
        redis.hdel(SIZES, *expired)
        redis.hdel(RECIPES, *expired)
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
