"""The cache of what others say: one question for a herd, old answers for when there is no new one, and none needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from shared import cache, cache_use
from shared.cache import Cache, Cached, CacheKind
from shared.providers import connect_redis
from shared.settings import Settings
from tests.machine import free_port
from tests.waiting import wait_until
from workers.providers.errors import ProviderError

KIND = CacheKind.METADATA


@pytest.fixture
def redis(settings: Settings) -> Iterator[Redis]:
    client = connect_redis(settings)
    assert client is not None
    client.flushdb()
    yield client
    client.close()


class Source:
    """Something that is asked, and counts how often."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        answer = self.answers[min(self.asked, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(redis: Redis | None, source: Source, **more: Any) -> Cached:
    return Cache(redis).get(KIND, "one", source, errors=ProviderError, **more)


def test_what_is_known_is_not_fetched_again(redis: Redis) -> None:
    source = Source({"name": "ä", "n": [1, None, {"a": 2.5}]})
    assert ask(redis, source) == ask(redis, source) == Cached(value={"name": "ä", "n": [1, None, {"a": 2.5}]})
    assert source.asked == 1


def test_kinds_and_keys_do_not_meet(redis: Redis) -> None:
    one, two = Source(1), Source(2)
    assert ask(redis, one).value == 1
    assert Cache(redis).get(CacheKind.LIBRARY, "one", two, errors=ProviderError).value == 2


def test_a_herd_makes_one_call(redis: Redis) -> None:
    asked, go = [], threading.Event()

    def slow() -> str:
        asked.append(1)
        go.wait(5)
        return "well"

    with ThreadPoolExecutor(20) as pool:
        answers = [
            pool.submit(lambda: Cache(redis).get(KIND, "one", slow, errors=ProviderError).value) for _ in range(20)
        ]
        wait_until(lambda: asked, what="the first question")
        go.set()
        assert {answer.result() for answer in answers} == {"well"}
    assert len(asked) == 1


def test_when_the_one_who_fetches_fails_another_one_tries(redis: Redis) -> None:
    source = Source(ProviderError("It is down."), "well")
    with pytest.raises(ProviderError):
        ask(redis, source)
    assert ask(redis, source).value == "well"


def test_an_old_answer_is_served_while_there_is_no_new_one(redis: Redis) -> None:
    source = Source("old", ProviderError("It is down."), "new")
    ask(redis, source, seconds=0)
    stale = ask(redis, source, seconds=0)
    assert (stale, stale.marks()) == (Cached(value="old", stale=True), {"stale": True})
    assert ask(redis, source).value == "new"


def test_while_somebody_fetches_the_old_answer_is_good_enough(redis: Redis) -> None:
    ask(redis, Source("old"), seconds=0)
    begun, go = threading.Event(), threading.Event()

    def slow() -> str:
        begun.set()
        go.wait(5)
        return "new"

    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(lambda: Cache(redis).get(KIND, "one", slow, errors=ProviderError))
        assert begun.wait(5)
        assert ask(redis, Source("never asked")) == Cached(value="old", stale=True)
        go.set()
        assert fetching.result() == Cached(value="new")


def test_where_nothing_is_known_the_least_is_said(redis: Redis) -> None:
    answer = ask(redis, Source(ProviderError("It is down.")), minimal=lambda: {"id": "one"})
    assert (answer.value, answer.marks()) == ({"id": "one"}, {"degraded": True})


def test_an_error_of_our_own_is_nothing_to_hide(redis: Redis) -> None:
    ask(redis, Source("old"), seconds=0)
    with pytest.raises(ZeroDivisionError):
        ask(redis, Source(ZeroDivisionError()), minimal=dict)


@pytest.mark.parametrize(("tag", "gone"), [("playlist:1", 1), ("user:ada", 2), ("playlist:*", 2), ("nothing", 0)])
def test_what_carries_a_tag_is_forgotten(redis: Redis, tag: str, gone: int) -> None:
    keep = Cache(redis)
    keep.put(KIND, "a", 1, tags=["playlist:1", "user:ada"])
    keep.put(KIND, "b", 2, tags=["playlist:2", "user:ada"])
    keep.put(KIND, "c", 3)

    assert cache.invalidate(redis, tag) == gone

    known = [keep.get(KIND, key, lambda: None, errors=ProviderError).value for key in "abc"]
    assert known.count(None) == gone
    assert cache.invalidate(redis, tag) == 0


def test_what_was_asked_for_before_an_invalidation_is_not_kept(redis: Redis) -> None:
    def old() -> str:
        cache.invalidate(redis, "playlist:1")  # somebody changes the playlist meanwhile
        return "old"

    assert ask(redis, Source("x"), tags=["playlist:1"], seconds=0).value == "x"
    assert Cache(redis).get(KIND, "one", old, errors=ProviderError, tags=["playlist:1"]).value == "old"
    assert ask(redis, Source("new"), tags=["playlist:1"]).value == "new"


def test_some_keys_are_looked_up_together(redis: Redis) -> None:
    keep = Cache(redis)
    keep.put(KIND, "a", 1)
    keep.put(KIND, "b", None)
    keep.put(KIND, "c", 3, seconds=0)
    looked = keep.find(KIND, ["a", "b", "c", "d"])

    assert (looked.fresh, looked.old) == ({"a": 1, "b": None}, {"c": 3})
    figures = cache_use.stats(redis)["by_kind"]["metadata"]
    assert (figures["hits"], figures["misses"]) == (2, 2)


def test_a_pattern_in_a_tag_means_itself(redis: Redis) -> None:
    Cache(redis).put(KIND, "a", 1, tags=["user:ada"])
    assert cache.invalidate(redis, "user:[a-z]*") == 0


def test_the_figures_say_what_the_cache_is_worth(redis: Redis) -> None:
    for _ in range(10):
        ask(redis, Source("x" * 98))
    Cache(redis).get(CacheKind.LIBRARY, "list", Source([]), errors=ProviderError)

    figures = cache_use.stats(redis)

    assert figures["hit_rate"] == round(9 / 11, 4)
    assert figures["by_kind"]["metadata"] == {"hit_rate": 0.9, "hits": 9, "misses": 1, "stale": 0}
    assert figures["by_kind"]["playback"]["hit_rate"] is None
    assert (figures["total_entries"], figures["memory_usage"]) == (2, 102)
    assert figures["evictions"] >= 0  # of the whole server, which other tests use, too
    assert figures["top_keys"] == [{"key": "metadata:one", "hits": 9}]


def test_without_redis_everything_is_fetched(settings: Settings) -> None:
    away = connect_redis(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
    for client in (None, away):
        source = Source("well")
        assert ask(client, source).value == ask(client, source).value == "well"
        assert source.asked == 2
    with pytest.raises(ProviderError):
        ask(away, Source(ProviderError("It is down.")))
