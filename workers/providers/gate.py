"""The gate before each provider: budget, pause and circuit breaker, one for all processes, by the clock of Redis.

Own scripts in place of `limits` and `pybreaker`. The windows of `limits` begin when a call is asked for, by each
host's clock, so calls that were under way longer can meet more than the budget at the provider. Here a call counts
from its admission until a window's length after its *answer*; so no window of the provider's, wherever it begins,
holds more than the budget. And pybreaker lets every process through while it is half open, not one.

What Redis does not know of counts, too: a process that finds the count begun anew (Redis has lost its data), or that
has made calls by itself while Redis was away, silences all for one window.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import StrEnum

from redis import Redis

from shared.clock import new_id
from shared.providers import Account, RedisLost
from shared.settings import Settings
from workers.providers.errors import BudgetSpent, ProviderDown
from workers.providers.ledger import Ledger

logger = logging.getLogger(__name__)

ADMIT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local count = redis.call('HMGET', KEYS[3], 'epoch', 'silent_from', 'silent_until')
local epoch, silent_from = count[1] or ARGV[1], tonumber(count[2] or 0)
if not count[1] then redis.call('HSET', KEYS[3], 'epoch', epoch) end
local unseen = tonumber(ARGV[4])
local is_emptied = ARGV[3] ~= '' and ARGV[3] ~= epoch and silent_from == 0
if is_emptied or (unseen >= 0 and silent_from < now - unseen) then
  redis.call('HSET', KEYS[3], 'silent_from', now, 'silent_until', now + tonumber(ARGV[5]))
  count[3] = now + tonumber(ARGV[5])
end
local pause = redis.call('HMGET', KEYS[1], 'until', 'quota')
if pause[1] and tonumber(pause[1]) > now then
  return {pause[2] == '1' and 'quota' or 'paused', tonumber(pause[1]) - now, epoch}
end
local breaker = redis.call('HMGET', KEYS[2], 'open_until', 'probe_until')
if breaker[1] then
  local until_ = math.max(tonumber(breaker[1]), tonumber(breaker[2] or 0))
  if until_ > now then return {'open', until_ - now, epoch} end
end
local wait = tonumber(count[3] or 0) - now
for i = 4, #KEYS do
  local calls = tonumber(ARGV[i * 2 - 2])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  local over = redis.call('ZCARD', KEYS[i]) - calls
  if over >= 0 then
    local first = redis.call('ZRANGE', KEYS[i], over, over, 'WITHSCORES')
    wait = math.max(wait, tonumber(first[2]) - now)
  end
end
if wait > 0 then return {'spent', wait, epoch} end
local hold = tonumber(ARGV[2])
for i = 4, #KEYS do
  local window = tonumber(ARGV[i * 2 - 1])
  redis.call('ZADD', KEYS[i], now + hold + window, ARGV[1])
  redis.call('PEXPIRE', KEYS[i], hold + window)
end
if breaker[1] then redis.call('HSET', KEYS[2], 'probe_until', now + hold) end
return {'go', 0, epoch}
"""
SETTLE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i = 4, #KEYS do
  local window = tonumber(ARGV[i + 4])
  redis.call('ZADD', KEYS[i], now + window, ARGV[1])
  redis.call('PEXPIRE', KEYS[i], window + tonumber(ARGV[7]))
end
local pause, rests_until = tonumber(ARGV[5]), tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
local is_another_rest = ARGV[2] == 'throttled' and ARGV[6] == '0' and rests_until <= now
if ARGV[2] == 'failed' or is_another_rest then
  local failures = redis.call('HINCRBY', KEYS[2], 'failures', 1)
  if failures >= tonumber(ARGV[3]) or redis.call('HEXISTS', KEYS[2], 'open_until') == 1 then
    redis.call('HSET', KEYS[2], 'open_until', now + tonumber(ARGV[4]))
    redis.call('HDEL', KEYS[2], 'probe_until')
  end
  redis.call('PEXPIRE', KEYS[2], 10 * tonumber(ARGV[4]) + pause)
elseif ARGV[2] == 'answered' then
  redis.call('DEL', KEYS[2])
end
if pause > 0 and now + pause > rests_until then
  redis.call('HSET', KEYS[1], 'until', now + pause, 'quota', ARGV[6])
  redis.call('PEXPIRE', KEYS[1], pause)
end
return 1
"""


class Verdict(StrEnum):
    """How a call ended, as far as the gate is concerned."""

    ANSWERED = "answered"  # also by a refusal: the endpoint is alive
    THROTTLED = "throttled"  # who wants another rest after each is of no more use than who fails
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """The leave to make one call."""

    id: str
    endpoint: str
    is_local: bool  # given by this process alone, for Redis was away


class Gate:
    """Admits calls to one account's provider. While Redis is away, this process keeps to its share of the budget."""

    def __init__(self, account: Account, redis: Redis | None, settings: Settings) -> None:
        """Prepare; Redis is asked with the first call."""
        self.account = account
        self._redis = redis
        self._settings = settings
        # Twice: a call may have to get a token first.
        self._hold_ms = int(2000 * (settings.provider_connect_seconds + settings.provider_timeout_seconds))
        self._epoch = ""  # of the count in Redis, as this process saw it last
        self._ledger = Ledger(account, settings)
        self._admit = None if redis is None else redis.register_script(ADMIT)
        self._settle = None if redis is None else redis.register_script(SETTLE)

    def admit(self, endpoint: str) -> Ticket:
        """Let one call through. Raises `BudgetSpent`, `ProviderDown`."""
        ticket = new_id("call")
        try:
            verdict, wait_ms = self._ask_redis(ticket, endpoint)
        except RedisLost as error:
            logger.warning("calls are counted by this process alone: %s", type(error).__name__)
            self._ledger.redis_is_away()
            verdict, wait_ms = self._ledger.admit(ticket, endpoint)
            is_local = True
        else:
            is_local = self._redis is None
        self._check(verdict, endpoint, wait_ms / 1000)
        return Ticket(id=ticket, endpoint=endpoint, is_local=is_local)

    def _ask_redis(self, ticket: str, endpoint: str) -> tuple[str, int]:
        if self._admit is None:
            return self._ledger.admit(ticket, endpoint)
        windows: list[int] = [part for one in self.account.windows for part in (one.calls, int(one.seconds * 1000))]
        before: list[str | int] = [self._epoch, self._ledger.unseen_ms(), self._ledger.longest_ms]
        arguments: list[str | int] = [ticket, self._hold_ms, *before, *windows]
        verdict, wait_ms, epoch = self._admit(keys=self._keys(endpoint), args=arguments)
        self._epoch = epoch.decode()
        self._ledger.redis_is_back()
        return verdict.decode(), int(wait_ms)

    def _check(self, verdict: str, endpoint: str, seconds: float) -> None:
        provider = self.account.provider.value
        if verdict == "open":
            raise ProviderDown(f"{provider} does not answer ({endpoint}); it is tried again in {seconds:.0f} s.")
        if verdict == "quota":
            raise BudgetSpent(f"The quota at {provider} is spent.", seconds=seconds, is_quota=True)
        if verdict == "paused":
            raise BudgetSpent(f"{provider} asked to be left alone.", seconds=seconds)
        if verdict == "spent":
            raise BudgetSpent(f"The calls that {provider} may get in this time are made.", seconds=seconds)

    def settle(self, ticket: Ticket, verdict: Verdict, *, pause_seconds: float = 0.0, is_quota: bool = False) -> None:
        """Note how a call ended, and for how long the provider wants to be left alone."""
        settings = self._settings
        if ticket.is_local or self._settle is None:
            self._settle_alone(ticket, verdict, pause_seconds, is_quota)
            return
        windows = [int(one.seconds * 1000) for one in self.account.windows]
        opened_ms = int(settings.breaker_seconds * 1000)
        pause = [int(pause_seconds * 1000), int(is_quota)]
        call: list[str | int | float] = [ticket.id, verdict.value, settings.breaker_failures, opened_ms]
        try:
            self._settle(keys=self._keys(ticket.endpoint), args=[*call, *pause, self._hold_ms, *windows])
        except RedisLost as error:
            logger.warning("how a call ended could not be noted: %s", type(error).__name__)
            self._ledger.redis_is_away()
            self._settle_alone(ticket, verdict, pause_seconds, is_quota)

    def _settle_alone(self, ticket: Ticket, verdict: Verdict, pause_seconds: float, is_quota: bool) -> None:
        has_failed = verdict is Verdict.FAILED or (verdict is Verdict.THROTTLED and not is_quota)
        self._ledger.settle(ticket.id, ticket.endpoint, has_failed, pause_seconds, is_quota)

    def _keys(self, endpoint: str) -> list[str]:
        account = self.account
        return [account.pause_key, account.breaker_key(endpoint), account.count_key, *account.log_keys()]
