"""What Prometheus reads of providers and of the cache, from a real worker that has asked the fakes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from shared.cache import Cache, CacheKind
from shared.settings import Settings
from shared.store import jobs
from shared.store.database import connect, ensure_indexes
from tests.api_server import Worker, serving
from tests.environment import environment_of
from tests.fake_providers import FakeProviders, Reply, fake_providers, track_id
from tests.integration.test_metrics import page, value
from tests.machine import Machine
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviders]:
    with fake_providers() as both:
        yield both


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, fake: FakeProviders) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("asking")
    environment = {
        **fake.variables,
        "BACKLINE_METRICS_DIR": str(folder / "metrics"),
        "BACKLINE_BREAKER_FAILURES": "3",
        "BACKLINE_REAP_SECONDS": "0.5",
    }
    machine = Machine(folder, environment, processes=1)
    machine.servers.start()
    machine.heal()
    yield machine
    machine.stop()


@pytest.fixture
def told(asking: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    with environment_of(monkeypatch, asking.settings) as settings:
        db = connect(settings)
        with db.client:
            ensure_indexes(db)
        yield settings


def find(settings: Settings, *ids: str) -> None:
    """Have the worker find the features of some tracks."""
    db = connect(settings)
    with db.client:
        job = Worker(db).submit("track_features", trackIds=list(ids))
        wait_until(lambda: jobs.get(db, job.id).status.is_final, what="the job's end", seconds=60)


def test_calls_are_counted_by_endpoint_and_by_how_they_ended(
    told: Settings, fake: FakeProviders, asking: Machine
) -> None:
    find(told, track_id(1))
    fake.spotify.always = Reply.error(503)
    find(told, track_id(2))
    fake.spotify.always = None
    find(told, track_id(3))  # nobody asks Spotify, whose breaker is open
    folder = Path(asking.settings["BACKLINE_METRICS_DIR"] or "")
    with serving(told.model_copy(update={"metrics_dir": folder})) as client:
        numbers = page(client)

    of_spotify = {"provider": "spotify", "endpoint": "audio-features"}
    calls = "backline_provider_calls_total"
    assert value(numbers, calls, **of_spotify, outcome="ok") == 1
    assert value(numbers, calls, **of_spotify, outcome="failed") == 3
    assert value(numbers, calls, **of_spotify, outcome="left_alone") >= 1
    assert value(numbers, calls, provider="reccobeats", endpoint="audio-features", outcome="ok") == 2
    assert value(numbers, "backline_provider_call_seconds_count", **of_spotify) == 4
    assert value(numbers, "backline_provider_breaker_state", **of_spotify) == 2
    assert value(numbers, "backline_provider_breaker_state", provider="spotify", endpoint="tracks") == 0
    assert value(numbers, "backline_provider_breaker_state", provider="reccobeats", endpoint="analysis") == 0
    assert value(numbers, "backline_provider_budget_calls", provider="spotify", window="60s") == 100
    left = value(numbers, "backline_provider_remaining_calls", provider="spotify", window="60s")
    assert 90 <= left <= 96
    names = {label for samples in numbers.values() for labels in samples for _, label in labels}
    assert not names & {track_id(1), track_id(2), track_id(3)}


def test_a_pause_and_the_cache_are_shown(told: Settings, fake: FakeProviders) -> None:
    fake.reccobeats.script.append(Reply.error(429, headers={"Retry-After": "1200"}))
    fake.spotify.known = lambda _: None
    db = connect(told)
    with db.client, Redis.from_url(told.redis_url or "") as redis, serving(told) as client:
        Worker(db).submit("track_features", trackIds=[track_id(9)], providers=["reccobeats"])
        cache = Cache(redis)
        for _ in range(3):
            cache.get(CacheKind.LIBRARY, "one", lambda: "x" * 100, errors=OSError)

        def paused() -> bool:
            return value(page(client), "backline_provider_paused_seconds", provider="reccobeats") > 1000

        wait_until(paused, what="the pause", seconds=60)
        numbers = page(client)
    assert value(numbers, "backline_cache_lookups_total", kind="library", result="hits") == 2
    assert value(numbers, "backline_cache_lookups_total", kind="library", result="misses") == 1
    assert value(numbers, "backline_cache_entries") == 1
    assert value(numbers, "backline_cache_bytes") == 102


def test_an_installation_without_an_app_shows_nothing_of_spotify(told: Settings) -> None:
    nobody = told.model_copy(update={"spotify_client_id": None, "spotify_client_secret": None})
    with serving(nobody) as client:
        shown: httpx.Response = client.get("/metrics")
    assert 'backline_provider_budget_calls{provider="reccobeats"' in shown.text
    assert 'backline_provider_budget_calls{provider="spotify"' not in shown.text
