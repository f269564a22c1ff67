"""What Redis knows of a provider at this moment: what is left of its budget, and how its endpoints are."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis

from shared.providers import ENDPOINTS, Account, breaker_state, redis_now_ms


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """The state of one account, for all workers together."""

    remaining: tuple[int, ...]  # calls, of each window
    breakers: dict[str, str]  # endpoint -> closed, open or half_open
    paused_seconds: float  # for so long the provider wants to be left alone
    is_quota: bool  # for a quota is spent


def read_state(redis: Redis, account: Account) -> AccountState:
    """Return what is known of an account. Raises what `RedisLost` names."""
    now_ms = redis_now_ms(redis)
    endpoints = ENDPOINTS[account.provider]
    with redis.pipeline(transaction=False) as together:
        together.hmget(account.pause_key, ["until", "quota"])
        together.hget(account.count_key, "silent_until")
        for endpoint in endpoints:
            together.hgetall(account.breaker_key(endpoint))
        for key in account.log_keys():
            together.zcount(key, f"({now_ms}", "+inf")
        (until, quota), silent_until, *rest = together.execute()
    made = rest[len(endpoints) :]
    is_silent = int(silent_until or 0) > now_ms
    return AccountState(
        remaining=tuple(
            0 if is_silent else max(one.calls - int(count), 0) for one, count in zip(account.windows, made, strict=True)
        ),
        breakers={name: breaker_state(fields, now_ms) for name, fields in zip(endpoints, rest, strict=False)},
        paused_seconds=max(int(until or 0) - now_ms, 0) / 1000,
        is_quota=quota == b"1",
    )
