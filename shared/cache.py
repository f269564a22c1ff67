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
GENERATION = f"{PREFIX}:generation"
"""Goes up with whatever is invalidated: an answer that was asked for before that is not kept."""
STALE_SECONDS = 86_400
"""For so long an answer is kept behind its time, for when there is no fresh one."""
TOP_KEPT = 1_000
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
if ARGV[4] ~= '' and (redis.call('GET', KEYS[4]) or '0') ~= ARGV[4] then return 0 end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local kept = tonumber(ARGV[3]) * 1000
redis.call('SET', KEYS[1], cjson.encode({fresh_until = now + tonumber(ARGV[2]) * 1000}) .. ARGV[1], 'PX', kept)
redis.call('ZADD', KEYS[2], now + kept, KEYS[1])
redis.call('HSET', KEYS[3], KEYS[1], #ARGV[1])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[5], KEYS[1], ARGV[5]) end
for i = 6, #KEYS do
  redis.call('SADD', KEYS[i], KEYS[1])
  redis.call('PEXPIRE', KEYS[i], math.max(kept, redis.call('PTTL', KEYS[i])))
end
return 1
"""
LOOK = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local found = {redis.call('GET', KEYS[1]) or '0'}
for i = 2, #KEYS do
  local text = redis.call('GET', KEYS[i])
  if text then
    local stop = string.find(text, '}', 1, true)
    local head = cjson.decode(string.sub(text, 1, stop))
    found[i] = {head.fresh_until > now and 1 or 0, string.sub(text, stop + 1)}
  else
    found[i] = false
  end
end
return found
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


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What is known of some keys, and of which time that is."""

    fresh: Mapping[str, Any]
    old: Mapping[str, Any]  # behind their time
    generation: str = ""  # as of which answers may be kept


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
        place = _place(kind, key)
        try:
            looked = self._look_up(kind, [key])
            if key in looked.fresh:
                return Cached(value=looked.fresh[key])
            token = self._become_fetcher(place)
            if token is None:
                awaited = self._await(kind, key, looked)
                if awaited is not None:
                    return awaited
                token = self._become_fetcher(place)  # whoever fetched has failed
            # Somebody may have fetched it between our look and our turn.
            again = self._looked(kind, [key])
            if key in again.fresh:
                self._give_way(place, token)
                return Cached(value=again.fresh[key])
        except RedisLost as error:
            logger.warning("nothing is cached: %s", type(error).__name__)
            again, token = NOTHING, None
        keep = partial(self.put, kind, key, tags=tags, seconds=seconds, recipe=recipe, generation=again.generation)
        try:
            return self._fetch(kind, key, again, fetch, errors, minimal, keep)
        finally:
            self._give_way(place, token)

    def _fetch(
        self,
        kind: CacheKind,
        key: str,
        looked: Looked,
        fetch: Callable[[], Any],
        errors: type[Exception] | tuple[type[Exception], ...],
        minimal: Callable[[], Any] | None,
        keep: Callable[[Any], None],
    ) -> Cached:
        try:
            value = fetch()
        except errors as error:
            logger.info("no fresh answer for %s: %s", key, error)
            if key in looked.old:
                self.count_stale(kind, 1)
                return Cached(value=looked.old[key], stale=True)
            if minimal is not None:
                return Cached(value=minimal(), degraded=True)
            raise
        else:
            keep(value)
            return Cached(value=value)

    def find(self, kind: CacheKind, keys: Sequence[str], *, is_counted: bool = True) -> Looked:
        """Return what is known of these keys; who fetches the others keeps them by `put`, one by one."""
        try:
            return self._look_up(kind, keys) if is_counted else self._looked(kind, keys)
        except RedisLost as error:
            logger.warning("nothing is cached: %s", type(error).__name__)
            return NOTHING

    def put(
        self,
        kind: CacheKind,
        key: str,
        value: Any,
        *,
        tags: Sequence[str] = (),
        seconds: float | None = None,
        recipe: Json | None = None,
        generation: str = "",
    ) -> None:
        """Keep an answer, and how it can be fetched again, unless something was invalidated since `generation`."""
        fresh = kind.seconds if seconds is None else seconds
        places = [_place(kind, key), ENTRIES, SIZES, GENERATION, RECIPES, *(f"{PREFIX}:tag:{tag}" for tag in tags)]
        how = "" if recipe is None else json.dumps(recipe)
        try:
            if self._store is not None:
                self._store(keys=places, args=[json.dumps(value), fresh, fresh + STALE_SECONDS, generation, how])
        except RedisLost as error:
            logger.warning("an answer could not be kept: %s", type(error).__name__)

    def generation(self) -> str:
        """Return what answers that are asked for from now on are kept under."""
        return self.find(CacheKind.METADATA, (), is_counted=False).generation

    def _look_up(self, kind: CacheKind, keys: Sequence[str]) -> Looked:
        """Return what is known, and count it."""
        looked = self._looked(kind, keys)
        if self._redis is not None:
            with self._redis.pipeline(transaction=False) as together:
                for what, count in (("hits", len(looked.fresh)), ("misses", len(keys) - len(looked.fresh))):
                    if count:
                        together.hincrby(COUNTS, f"{what}:{kind.value}", count)
                for key in looked.fresh:
                    together.zincrby(TOP, 1, _place(kind, key))
                together.zremrangebyrank(TOP, 0, -TOP_KEPT - 1)
                together.execute()
        return looked

    def _looked(self, kind: CacheKind, keys: Sequence[str]) -> Looked:
        """Return what is known; nothing is counted."""
        if self._look is None:
            return NOTHING
        generation, *answers = self._look(keys=[GENERATION, *(_place(kind, key) for key in keys)])
        fresh: dict[str, Any] = {}
        old: dict[str, Any] = {}
        for key, answer in zip(keys, answers, strict=True):
            if answer:
                (fresh if answer[0] else old)[key] = json.loads(answer[1])
        return Looked(fresh=fresh, old=old, generation=generation.decode())

    def _become_fetcher(self, place: str) -> str | None:
        """Return the token of whoever fetches for all; None where somebody else does."""
        token = new_id("fetch")
        if self._redis is None or self._redis.set(f"{place}:fetcher", token, nx=True, px=self._hold_ms):
            return token
        return None

    def _await(self, kind: CacheKind, key: str, looked: Looked) -> Cached | None:
        """Return what somebody else fetches; None where they did not, or take too long."""
        if key in looked.old:  # better at once
            return Cached(value=looked.old[key], stale=True)
        deadline = time.monotonic() + self._hold_ms / 1000
        redis = cast(Redis, self._redis)
        while time.monotonic() < deadline:
            is_fetched = bool(redis.exists(f"{_place(kind, key)}:fetcher"))
            fresh = self._looked(kind, [key]).fresh  # the later look: it may come between the two
            if key in fresh:
                return Cached(value=fresh[key])
            if not is_fetched:
                return None
            time.sleep(POLL_SECONDS)
        return None

    def _give_way(self, place: str, token: str | None) -> None:
        try:
            if token is not None and self._release is not None:
                self._release(keys=[f"{place}:fetcher"], args=[token])
        except RedisLost:
            logger.warning("a fetcher's mark stays until its time is up")

    def count_stale(self, kind: CacheKind, answers: int) -> None:
        """Count answers that were served behind their time."""
        try:
            if self._redis is not None and answers:
                self._redis.hincrby(COUNTS, f"stale:{kind.value}", answers)
        except RedisLost:
            logger.warning("the cache is not counted while Redis does not answer")


NOTHING = Looked(fresh={}, old={})


def _place(kind: CacheKind, key: str) -> str:
    return f"{PREFIX}:{kind.value}:{key}"


def invalidate(redis: Redis, tag: str) -> int:
    """Forget what carries a tag, `playlist:ID` say, or what a prefix followed by `*` stands for; return how many."""
    if not tag.endswith("*"):
        return invalidate_exactly(redis, tag)
    escaped = "".join(f"\\{one}" if one in "*?[]\\" else one for one in tag[:-1])
    return _forget(redis, list(redis.scan_iter(match=f"{PREFIX}:tag:{escaped}*", count=1000)))


def invalidate_exactly(redis: Redis, tag: str) -> int:
    """Forget what carries a tag, whatever it is written with; return how many."""
    return _forget(redis, [f"{PREFIX}:tag:{tag}".encode()])


def _forget(redis: Redis, tags: Sequence[bytes]) -> int:
    redis.incr(GENERATION)  # first: what is on its way is of before
    gone = 0
    for place in tags:
        entries = list(redis.smembers(place))
        with redis.pipeline() as together:
            for entry in entries:
                together.delete(entry)
                together.zrem(ENTRIES, entry)
                together.hdel(SIZES, entry)
                together.hdel(RECIPES, entry)
                together.zrem(TOP, entry)
            if entries:  # and not the whole tag: somebody may have kept a new one under it
                together.srem(place, *entries)
            done = together.execute()
        gone += sum(int(one) for one in done[: 5 * len(entries) : 5])
    return gone
