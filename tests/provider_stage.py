"""What tests of providers begin with: settings of somebody who meets the fakes, and users who have connected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from redis import Redis

from shared.model import Json
from shared.providers import connect_redis
from shared.settings import Settings
from shared.store.job_record import JobRecord
from tests.environment import environment_of
from tests.fake_providers import FakeProviders
from tests.integration.engine import Engine
from workers.providers.services import services

REDIRECT = "http://127.0.0.1:9/callback"


@contextmanager
def meeting(
    settings: Settings,
    fake: FakeProviders,
    monkeypatch: pytest.MonkeyPatch,
    more: Mapping[str, str | None] | None = None,
) -> Iterator[Settings]:
    """Yield settings of somebody who meets the fakes, and whom Redis does not know yet."""
    own = {**fake.variables, "BACKLINE_SPOTIFY_CLIENT_ID": f"app of {settings.mongodb_database}", **(more or {})}
    with environment_of(monkeypatch, own) as known:
        redis = connect_redis(known)
        assert redis is not None
        with redis:
            redis.flushdb()
        yield known


def days_later(url: str) -> None:
    """Let Redis forget calls, pauses, breakers and what is cached, as it does by itself when days have gone by."""
    with Redis.from_url(url) as redis:
        for pattern in ("backline:providers:*", "backline:cache:*"):
            for place in redis.scan_iter(match=pattern):
                if not place.endswith(b":count"):  # of which it would say that calls were lost
                    redis.delete(place)


def begin(client: httpx.Client, user: str = "ada") -> Json:
    """Begin to connect a user's account."""
    answer = client.post("/api/spotify/authorizations", json={"userId": user, "redirectUri": REDIRECT})
    assert answer.status_code == 201, answer.text
    begun: Json = answer.json()
    return begun


def say_yes(begun: Json) -> dict[str, str]:
    """Go to Spotify as the user's browser does, and return what it brings back."""
    answer = httpx.get(begun["authorizeUrl"], follow_redirects=False, trust_env=False)
    assert answer.status_code == 302
    place = urlsplit(answer.headers["location"])
    assert f"{place.scheme}://{place.netloc}{place.path}" == REDIRECT
    return {name: values[0] for name, values in parse_qs(place.query).items()}


def end(client: httpx.Client, brought: Mapping[str, str]) -> httpx.Response:
    """End the authorisation."""
    body = {name: brought[name] for name in ("code", "error") if name in brought}
    return client.post(f"/api/spotify/authorizations/{brought['state']}", json=body)


def connected(client: httpx.Client, fake: FakeProviders, user: str = "ada") -> None:
    """Have a user connect their account."""
    fake.accounts.signed_in = user
    answer = end(client, say_yes(begin(client, user)))
    assert answer.status_code == 200, answer.text


def begin_together(engine: Engine, track_id: str, *, users: int) -> list[JobRecord]:
    """Have so many workers begin jobs about one track at the same time, each for another user."""
    jobs = [engine.submit("track_features", trackIds=[track_id], userId=f"user {n}") for n in range(users)]
    for job in jobs:
        engine.plan(job.id)
    services(engine.settings, engine.db)  # opened once; a worker process has one thread
    with ThreadPoolExecutor(users) as pool:
        list(pool.map(lambda _: engine.run(), jobs))
    return jobs
