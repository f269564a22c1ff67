"""Providers: what a batch costs of which everything is stored, and how quickly a cache answers that mostly knows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

import httpx
from fastapi import FastAPI

from api.spotify import Batch
from deploy.ports import LOOPBACK
from shared.access import Scope
from shared.cache import Cache, CacheKind
from shared.ladder import Answer, merge
from shared.providers import Account, Provider, Window, connect_redis
from shared.settings import Settings, get_settings
from shared.store import audio_features
from shared.store.database import ensure_library_indexes, library
from tests.benchmarks.figures import Figure
from tests.benchmarks.stage import Stage
from tests.benchmarks.submits import served
from tests.fake_providers import WHOLE, FakeProviders, fake_providers, track_id
from tests.holders import give_key
from workers.providers.errors import ProviderError
from workers.providers.gate import Gate
from workers.providers.line import Line
from workers.providers.reccobeats import ReccoBeats

OWNER, USER = "bench", "ada"
IDS = 500
HIT_RATE = 0.9
ANSWER_SECONDS = 0.02
"""How long the provider takes for an answer."""


def create_app() -> FastAPI:
    """Return an application with the least that a batch can be: a route that validates it."""
    app = FastAPI()

    @app.post("/bare")
    def batch(body: Batch) -> dict[str, Any]:
        return {"success": True, "processed": len(body.track_ids)}

    return app


def measure(stage: Stage, *, is_short: bool) -> list[Figure]:
    """Return both figures. No worker runs: none takes the processor."""
    found = [_stored(stage, 10 if is_short else 200), _mostly_cached(stage, 100 if is_short else 3_000)]
    stage.clear()
    return found


def _stored(stage: Stage, requests: int) -> Figure:
    key = give_key(stage.db, OWNER, (Scope.JOBS_WRITE,)).key
    ids = [track_id(n) for n in range(IDS)]
    _store(stage, ids)
    body = {"trackIds": ids, "userId": USER}
    with (
        served(stage, "api", "api.app:create_app", "/health/live") as api,
        served(stage, "bare", "tests.benchmarks.providers:create_app", "/openapi.json") as bare,
        httpx.Client(headers={"Authorization": f"Bearer {key}", "Prefer": "wait=1"}, trust_env=False) as client,
    ):
        places = (f"http://{LOOPBACK}:{bare}/bare", f"http://{LOOPBACK}:{api}/api/spotify/audio-features/batch")
        plain: list[float] = []
        ours: list[float] = []
        for place, times in ((places[0], plain), (places[1], ours)) * requests:
            started = time.perf_counter()
            answer = client.post(place, json=body)
            times.append((time.perf_counter() - started) * 1000)
            assert answer.json()["processed"] == IDS, answer.text
    note = f"{median(ours):.1f} ms in all, {requests} times, p95 {quantiles(ours, n=20)[-1]:.1f} ms"
    value = median(ours) - median(plain)
    return Figure(name="500 stored ids beyond a bare route", value=value, unit="ms", at_most=50, note=note)


def _store(stage: Stage, ids: list[str]) -> None:
    own = library(stage.db, OWNER)
    ensure_library_indexes(own)
    merged = merge([Answer(provider=Provider.SPOTIFY, values=WHOLE)], {})
    audio_features.upsert_merged(own, USER, [(one, merged) for one in ids])
    audio_features.save_user_summary(own, USER, {"tracks": len(ids), "averages": {"tempo": 120.0}})


def _mostly_cached(stage: Stage, requests: int) -> Figure:
    redis = connect_redis(get_settings())
    assert redis is not None
    account = Account(provider=Provider.RECCOBEATS, name="bench", windows=(Window(calls=1_000_000, seconds=1.0),))
    with redis, fake_providers() as fake:
        settings: Settings = get_settings().model_copy(update={"reccobeats_url": f"{fake.url}/reccobeats/"})
        service = ReccoBeats(Line(Gate(account, redis, settings), settings), settings)
        times = _asked(Cache(redis), service, fake, requests)
        service.close()
    note = f"{requests} lookups, p50 {median(times):.1f} ms; the provider takes {ANSWER_SECONDS * 1000:.0f} ms"
    value = quantiles(times, n=20)[-1]
    return Figure(name="90 % of lookups cached: p95", value=value, unit="ms", at_most=100, note=note)


def _asked(cache: Cache, service: ReccoBeats, fake: FakeProviders, requests: int) -> list[float]:
    fake.reccobeats.known = _slowly
    chance = random.Random(1)
    known: list[str] = []
    times: list[float] = []
    for number in range(requests):
        is_new = not known or chance.random() >= HIT_RATE
        one = track_id(number) if is_new else chance.choice(known)
        if is_new:
            known.append(one)
        started = time.perf_counter()
        cache.get(CacheKind.METADATA, f"bench:{one}", _fetch(service, one), errors=ProviderError)
        times.append((time.perf_counter() - started) * 1000)
    return times


def _fetch(service: ReccoBeats, one: str) -> Callable[[], Any]:
    return lambda: dict(service.features([one]))


def _slowly(_: str) -> Any:
    time.sleep(ANSWER_SECONDS)  # it is the provider that takes so long
    return WHOLE
