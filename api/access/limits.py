"""How many requests a key may send, in all and to a route: budgets for all front doors together, kept in Redis."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any

from limits import RateLimitItem, WindowStats, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.errors import RateLimited, WrongSetting
from shared.settings import Settings

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 0.5
PAUSE_SECONDS = 5.0
"""For how long Redis is left alone after it did not answer; nobody is held back meanwhile."""
BLOCK_PART = 100
BLOCK_SECONDS = 5.0
"""A budget is drawn on in blocks, one question to Redis for many requests. A block holds for so long, twice as many
requests as the one before where that was used up, else as many as were used of it, and this part of the budget at
most: so little is drawn in vain, however many processes a key's requests are spread over."""
HOLDERS_MAX = 10_000  # blocks that are remembered at a time


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A budget that each key has, in all or for each route."""

    name: str
    item: RateLimitItem

    @classmethod
    def of(cls, name: str, text: str) -> Rule:
        """Return the rule for a text such as ``100/15minutes``. Raises `WrongSetting`."""
        try:
            return cls(name=name, item=parse(text))
        except ValueError:
            raise WrongSetting(
                f"The rate {text!r} of {name} can't be read: write it as '100 per 15 minutes'."
            ) from None

    @property
    def seconds(self) -> int:
        """The length of its window."""
        return self.item.get_expiry()


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """The budgets that each key has: for all its requests, and for the submits of each kind of job."""

    requests: Rule
    submits: Rule
    provider_submits: Rule

    @classmethod
    def of(cls, settings: Settings) -> Budgets:
        """Return what the settings say. Raises `WrongSetting`."""
        return cls(
            requests=Rule.of("requests", settings.rate_requests),
            submits=Rule.of("submits", settings.rate_submits),
            provider_submits=Rule.of("provider submits", settings.rate_provider_submits),
        )


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is left of a budget."""

    rule: Rule
    remaining: int
    reset_seconds: int  # until it is whole again


@dataclass(kw_only=True)
class _Block:
    """Requests that this process may answer without asking Redis."""

    size: int = 0
    left: int = 0
    until: float = 0.0
    stats: WindowStats | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # to draw the next: who comes meanwhile shares it

    @property
    def is_over(self) -> bool:
        return self.left < 1 or time.monotonic() > self.until

    def next_size(self, most: int) -> int:
        """Return how many requests to draw next."""
        wanted = self.size - self.left if self.left else 2 * self.size
        return max(1, min(wanted, most))


class RateLimiter:
    """Takes from budgets; while Redis is away, everybody may go on."""

    def __init__(self, redis_url: str | None) -> None:
        """Connect with the first request."""
        self._pool = _pool(redis_url) if redis_url else None
        self._strategy = None if self._pool is None else _strategy(self._pool)
        self._blocks: dict[tuple[str, str], _Block] = {}
        self._resumes = 0.0

    async def take(self, rule: Rule, holder: str) -> Standing | None:
        """Take one request from a holder's budget; None where nobody keeps it. Raises `RateLimited`."""
        block = self._blocks.get((rule.name, holder)) or self._new_block(rule, holder)
        while block.is_over:
            async with block.turn:
                if self._strategy is None or time.monotonic() < self._resumes:
                    return None
                if block.is_over:
                    await self._draw(self._strategy, block, rule, holder)
        block.left -= 1
        return _standing(rule, block)

    async def _draw(self, strategy: SlidingWindowCounterRateLimiter, block: _Block, rule: Rule, holder: str) -> None:
        try:
            await self._refill(strategy, block, rule, holder)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("rates are not kept while Redis does not answer: %s", type(error).__name__)
            self._resumes = time.monotonic() + PAUSE_SECONDS

    async def _refill(self, strategy: SlidingWindowCounterRateLimiter, block: _Block, rule: Rule, holder: str) -> None:
        """Draw the next block from the budget, or one request where there is no more. Raises `RateLimited`."""
        for size in sorted({block.next_size(rule.item.amount // BLOCK_PART), 1}, reverse=True):
            if await strategy.hit(rule.item, rule.name, holder, cost=size):
                block.stats = await strategy.get_window_stats(rule.item, rule.name, holder)
                block.size = block.left = size
                block.until = time.monotonic() + min(BLOCK_SECONDS, rule.seconds)
                return
        stats = await strategy.get_window_stats(rule.item, rule.name, holder)
        wait = max(math.ceil(stats.reset_time - time.time()), 1)
        raise RateLimited(
            f"This key has used up its {rule.name}: {rule.item.amount:,} in {rule.seconds} s.", retry_after_seconds=wait
        )

    def _new_block(self, rule: Rule, holder: str) -> _Block:
        if len(self._blocks) >= HOLDERS_MAX:
            self._blocks.clear()
        self._blocks[rule.name, holder] = block = _Block()
        return block

    async def close(self) -> None:
        """Let go of Redis."""
        if self._pool is not None:
            await self._pool.aclose()


def _pool(redis_url: str) -> ConnectionPool | None:
    """Return the connections to Redis; None where the address is none, which the health checks tell."""
    try:
        return ConnectionPool.from_url(
            redis_url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        return None


def _strategy(pool: ConnectionPool) -> SlidingWindowCounterRateLimiter:
    options: Any = {"connection_pool": pool}  # annotated more narrowly there than it is used
    storage = RedisStorage("async+redis://", implementation="redispy", key_prefix="backline:rate", **options)
    return SlidingWindowCounterRateLimiter(storage)


def _standing(rule: Rule, block: _Block) -> Standing:
    assert block.stats is not None, "only what was drawn is left"
    reset = max(math.ceil(block.stats.reset_time - time.time()), 0)
    return Standing(rule=rule, remaining=block.stats.remaining + block.left, reset_seconds=reset)


def header_fields(standings: list[Standing]) -> list[tuple[bytes, bytes]]:
    """Return the fields that tell a client what is left (draft-ietf-httpapi-ratelimit-headers), as ASGI has them."""
    if not standings:
        return []
    policies = [f'"{one.rule.name}";q={one.rule.item.amount};w={one.rule.seconds}' for one in standings]
    states = [f'"{one.rule.name}";r={one.remaining};t={one.reset_seconds}' for one in standings]
    return [
        (b"ratelimit-policy", ", ".join(policies).encode()),
        (b"ratelimit", ", ".join(states).encode()),
    ]
