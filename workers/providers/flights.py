"""Questions that are under way: of all processes only one at a time asks a provider about the same thing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis import Redis

from shared.clock import new_id
from shared.providers import RedisLost
from shared.settings import Settings
from workers.providers.errors import BudgetSpent
from workers.providers.line import longest_call_seconds

logger = logging.getLogger(__name__)

PREFIX = "backline:providers:flight"
OTHERS_SECONDS = 1.0
"""After so long, what somebody else asks for is looked for again."""
LAND = """
for i = 1, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
end
return 1
"""


class Flights:
    """Marks in Redis what is asked; while Redis is away everybody asks for themselves."""

    def __init__(self, redis: Redis | None, settings: Settings) -> None:
        """Prepare; Redis is asked with the first question."""
        self._redis = redis
        self._hold_ms = int(1000 * longest_call_seconds(settings))  # whoever has died holds nothing up for longer
        self._land = None if redis is None else redis.register_script(LAND)

    @contextmanager
    def asking(self, what: str, ids: Sequence[str]) -> Iterator[frozenset[str]]:
        """Yield those of the ids about which nobody else asks now; till the block ends nobody else will."""
        token = new_id("flight")
        mine = self._taken(what, ids, token)
        try:
            yield frozenset(mine)
        finally:
            self._landed([_place(what, one) for one in mine], token)

    def _taken(self, what: str, ids: Sequence[str], token: str) -> Sequence[str]:
        if self._redis is None:
            return ids
        try:
            with self._redis.pipeline(transaction=False) as together:
                for one in ids:
                    together.set(_place(what, one), token, nx=True, px=self._hold_ms)
                won = together.execute()
        except RedisLost as error:
            logger.warning("others may ask the same: %s", type(error).__name__)
            return ids
        return [one for one, is_mine in zip(ids, won, strict=True) if is_mine]

    def _landed(self, places: Sequence[str], token: str) -> None:
        try:
            if places and self._land is not None:
                self._land(keys=places, args=[token])
        except RedisLost:
            logger.warning("marks of a question stay until their time is up")


def others_ask() -> BudgetSpent:
    """Return why a question is not asked now: its answer is on its way to somebody else."""
    return BudgetSpent("Somebody else asks the same just now.", seconds=OTHERS_SECONDS)


def _place(what: str, one: str) -> str:
    return f"{PREFIX}:{what}:{one}"
