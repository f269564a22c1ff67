"""What is asked for most is fetched before it gets old, and no more than a part of the budget is used for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from shared.cache import PREFIX, Cache, CacheKind, invalidate
from shared.cache_use import most_wanted
from shared.model import Db, Json
from shared.providers import Provider, connect_redis
from shared.settings import Settings
from shared.store import schedules
from shared.store.defaults import CACHE_WARMING, ensure_defaults
from shared.store.job_record import JobRecord, JobStatus
from tests.fake_accounts import Playlist, place
from tests.fake_providers import FakeProviders, Reply, track_id
from tests.integration.engine import Engine, engine_on
from tests.machine import free_port
from tests.provider_stage import meeting
from workers.providers.playlists import Playlists
from workers.providers.services import close_services, services
from workers.providers.track_names import TrackNames

IDS = [f"{n:022d}" for n in range(900, 940)]


@pytest.fixture
def chosen(settings: Settings, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with meeting(settings, fake, monkeypatch, {"BACKLINE_SPOTIFY_BUDGET": "20 per minute"}) as known:
        yield known


@pytest.fixture
def engine(db: Db, chosen: Settings) -> Iterator[Engine]:
    with engine_on(db, chosen) as one:
        yield one
    close_services()


@pytest.fixture
def redis(chosen: Settings) -> Iterator[Redis]:
    client = connect_redis(chosen)
    assert client is not None
    with client:
        yield client


def read(engine: Engine, fake: FakeProviders, *playlist_ids: str, times: int = 1) -> None:
    """Have somebody look at playlists, so often."""
    known = services(engine.settings, engine.db)
    assert known.spotify_app is not None
    playlists = Playlists(known.spotify_app, known.endpoints, known.cache)
    for one in playlist_ids:
        fake.accounts.playlists.setdefault(one, Playlist(name=one, places=[place(track_id(1))]))
        for _ in range(times):
            playlists.page(one, 0)


def warm(engine: Engine, **request: Any) -> JobRecord:
    return engine.drive(engine.submit("cache_warming", userId="local", **request).id)


def actions(engine: Engine, job: JobRecord) -> list[str]:
    return [str((item.result or {}).get("action", item.error and item.error.code)) for item in engine.items(job.id)]


def test_what_is_asked_for_most_is_fetched_anew(engine: Engine, fake: FakeProviders, redis: Redis) -> None:
    read(engine, fake, "a" * 22, times=5)
    read(engine, fake, "b" * 22, times=2)
    read(engine, fake, "c" * 22)  # once, so nobody has asked for it again
    fake.spotify.calls.clear()
    fake.accounts.playlists["a" * 22].places.append(place(track_id(2)))
    job = warm(engine)

    assert job.status is JobStatus.SUCCEEDED
    assert [call.path for call in fake.spotify.calls] == [f"playlists/{one * 22}/items" for one in "ab"]
    assert [one.fresh_seconds > 290 for one in most_wanted(redis, 10)] == [True, True]
    fake.spotify.always = Reply.error(503)  # what was fetched is what is told from now on
    known = services(engine.settings, engine.db)
    assert known.spotify_app is not None
    page = Playlists(known.spotify_app, known.endpoints, known.cache).page("a" * 22, 0)
    assert len(page.tracks) == 2
    assert page.stale is False


def test_what_stays_fresh_is_left_alone(engine: Engine, fake: FakeProviders) -> None:
    read(engine, fake, "a" * 22, times=3)
    fake.spotify.calls.clear()
    job = warm(engine, aheadSeconds=60)

    assert actions(engine, job) == ["fresh"]
    assert fake.spotify.calls == []


def test_no_more_than_the_part_of_the_budget_is_used(engine: Engine, fake: FakeProviders) -> None:
    wanted = [letter * 22 for letter in "abcdefgh"]
    read(engine, fake, *wanted, times=2)  # 8 of 20 calls are made
    fake.spotify.calls.clear()
    job = warm(engine)

    assert actions(engine, job) == ["warmed"] * 3 + ["left"] * 5  # a quarter of the 12 that are left
    assert job.status is JobStatus.SUCCEEDED
    assert len(fake.spotify.calls) == 3


def test_the_names_of_tracks_are_warmed_by_whoever_told_them(engine: Engine, fake: FakeProviders) -> None:
    known = services(engine.settings, engine.db)
    fake.reccobeats.named = lambda one: {"title": one, "artist": "A", "ms": 1, "isrc": "X"}
    only = {Provider.RECCOBEATS: known.by_provider[Provider.RECCOBEATS]}
    for _ in range(2):
        assert len(TrackNames(only, known.flights, known.cache).find(IDS)) == 40
    fake.reccobeats.calls.clear()
    assert actions(engine, warm(engine, aheadSeconds=86_400)) == ["warmed"] * 40
    assert [call.ids for call in fake.reccobeats.calls] == [tuple(IDS)]  # all that one call tells
    assert actions(engine, warm(engine)) == ["fresh"] * 40  # for a day, and the next turn comes sooner


def test_names_that_spotify_tells_one_by_one_cost_what_they_cost(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.closed.add("tracks")
    known = services(engine.settings, engine.db)
    only = {Provider.SPOTIFY: known.by_provider[Provider.SPOTIFY]}
    for _ in range(2):
        assert len(TrackNames(only, known.flights, known.cache).find(IDS[:5])) == 5
    fake.spotify.calls.clear()
    job = warm(engine, aheadSeconds=86_400)

    assert actions(engine, job) == ["warmed"] * 3 + ["left"] * 2  # a call each; a quarter of what is left of 20
    assert len(fake.spotify.calls) == 3


def test_a_provider_that_fails_is_an_item_that_says_so(engine: Engine, fake: FakeProviders) -> None:
    read(engine, fake, "a" * 22, "b" * 22, times=2)
    fake.spotify.script.extend([Reply.error(500)] * 3)
    job = warm(engine)

    assert sorted(actions(engine, job)) == ["provider_failed", "warmed"]
    assert job.status is JobStatus.PARTIAL


def test_a_provider_that_wants_rest_gets_it(engine: Engine, fake: FakeProviders) -> None:
    read(engine, fake, "a" * 22, "b" * 22, times=2)
    fake.spotify.script.append(Reply.error(429, headers={"Retry-After": "30"}))
    fake.spotify.calls.clear()
    job = warm(engine)

    assert actions(engine, job) == ["left", "left"]
    assert len(fake.spotify.calls) == 1
    assert actions(engine, warm(engine)) == ["left", "left"]
    assert len(fake.spotify.calls) == 1


def test_nothing_is_warmed_that_was_invalidated(engine: Engine, fake: FakeProviders, redis: Redis) -> None:
    read(engine, fake, "a" * 22, times=3)
    assert invalidate(redis, f"playlist:{'a' * 22}") == 1
    assert actions(engine, warm(engine)) == []


def test_what_redis_has_dropped_leaves_nothing_behind(redis: Redis) -> None:
    cache = Cache(redis)
    for _ in range(2):
        cache.get(CacheKind.PLAYBACK, "one", lambda: 1, errors=OSError, recipe={"what": "playlist"})
    assert len(most_wanted(redis, 5)) == 1
    redis.zadd(f"{PREFIX}:entries", {f"{PREFIX}:playback:one": 1})  # a day later
    assert most_wanted(redis, 5) == []
    assert redis.hlen(f"{PREFIX}:recipes") == 0


def test_without_redis_there_is_nothing_to_warm(
    settings: Settings, db: Db, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    lost = Settings.model_validate({**engine.settings.model_dump(), "redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    with engine_on(db, lost) as other:
        assert warm(other).status is JobStatus.SUCCEEDED


def test_the_schedule_is_there_and_paused(db: Db) -> None:
    ensure_defaults(db)
    found = schedules.get(db, "local", CACHE_WARMING)
    request: Json = found.request
    assert (found.paused, found.kind, request) == (True, "cache_warming", {"userId": "local"})
