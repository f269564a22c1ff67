"""The connection to Redis of whoever would rather do without than wait; Celery has its own, in `shared.broker`."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def impatient_redis(url: str, *, seconds: float) -> Redis:
    """Return a client whose every step gives up after so many seconds, with no second try.

    Nothing is sent before the first command; open it after a fork. Raises `ValueError` for what is no address.
    """
    return Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0))
