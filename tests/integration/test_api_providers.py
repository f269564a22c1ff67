"""The routes about providers, their disagreements and the cache, and the call that EchoTune makes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from shared.access import Scope
from shared.clock import now
from shared.ladder import Disagreement
from shared.model import Db, Json
from shared.providers import Provider, accounts, connect_redis
from shared.settings import Settings, get_settings
from shared.store import audio_features, disagreements, provider_endpoints
from tests.api_server import problem_of, serving
from tests.environment import environment_of
from tests.fake_providers import WHOLE, FakeProviders, Reply, track_id
from tests.holders import client_of, give_key
from tests.integration.engine import Engine, engine_on
from tests.machine import free_port
from tests.shell import Shell
from workers.providers.gate import Gate, Verdict
from workers.providers.services import close_services

PATH = "/api/spotify/audio-features/batch"
ONE = track_id(1)


@pytest.fixture
def chosen(settings: Settings, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    own = {**fake.variables, "BACKLINE_SPOTIFY_CLIENT_ID": f"app of {settings.mongodb_database}"}
    with environment_of(monkeypatch, own) as known:
        redis = connect_redis(known)
        assert redis is not None
        with redis:
            redis.flushdb()
        yield known


@pytest.fixture
def engine(db: Db, chosen: Settings) -> Iterator[Engine]:
    with engine_on(db, chosen) as one:
        yield one
    close_services()


@pytest.fixture
def client(db: Db, chosen: Settings) -> Iterator[httpx.Client]:
    with serving(chosen) as one:
        yield one


def batch(client: httpx.Client, *ids: str, wait: int = 0, **more: Any) -> httpx.Response:
    headers = {"Prefer": f"wait={wait}"} if wait else {}
    return client.post(PATH, json={"trackIds": list(ids), "userId": "ada", **more}, headers=headers)


def test_a_batch_is_a_job(client: httpx.Client, engine: Engine) -> None:
    answer = batch(client, ONE)

    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["success"] is True
    assert accepted["links"]["self"] == answer.headers["location"] == f"/api/jobs/{accepted['jobId']}"
    assert engine.drive(accepted["jobId"]).progress.succeeded == 1


@pytest.mark.usefixtures("working")
def test_who_waits_has_the_result_at_once(client: httpx.Client, fake: FakeProviders) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda one: None if one == ONE else WHOLE
    answer = batch(client, *(track_id(n) for n in range(250)), wait=20, options={"batchSize": 100, "other": 1})

    assert answer.status_code == 200
    result = answer.json()
    assert {name: result[name] for name in ("success", "processed", "failed", "batches")} == {
        "success": True,
        "processed": 249,
        "failed": 1,
        "batches": 3,
    }
    assert result["summary"]["libraryTracks"] == 249
    assert result["processingTime"] >= 0
    items = client.get(f"/api/jobs/{result['jobId']}/items?status=failed").json()["items"]
    assert [item["error"]["code"] for item in items] == ["unknown_track"]


def test_what_is_stored_is_told_without_a_job(client: httpx.Client, engine: Engine, fake: FakeProviders) -> None:
    engine.drive(batch(client, ONE, track_id(2)).json()["jobId"])
    before = engine.db["users"].find_one({"userId": "ada"})

    result = batch(client, ONE, track_id(2), ONE, wait=1).json()

    assert (result["processed"], result["failed"], result["jobId"]) == (2, 0, None)
    assert result["summary"]["libraryAverages"]["tempo"] == WHOLE["tempo"]
    after = engine.db["users"].find_one({"userId": "ada"})
    assert before is not None
    assert after is not None
    assert after["lastProcessed"] > before["lastProcessed"]
    assert engine.db["jobs"].count_documents({}) == 1


def test_what_nobody_could_say_is_asked_for_again_after_a_day(client: httpx.Client, engine: Engine) -> None:
    engine.drive(batch(client, ONE).json()["jobId"])
    change = {"$set": {"tempo": None, "updatedAt": now()}}
    engine.db[audio_features.COLLECTION].update_one({"trackId": ONE}, change)
    assert batch(client, ONE, wait=1).json()["jobId"] is None

    change = {"$set": {"updatedAt": now() - timedelta(days=2)}}
    engine.db[audio_features.COLLECTION].update_one({"trackId": ONE}, change)
    assert batch(client, ONE, wait=1).status_code == 202


def test_documents_that_clients_wrote_are_no_trouble(client: httpx.Client, engine: Engine) -> None:
    engine.drive(batch(client, ONE).json()["jobId"])
    for odd in (None, "yesterday", 7):
        change = {"$set": {"tempo": None, "updatedAt": odd}}
        engine.db[audio_features.COLLECTION].update_one({"trackId": ONE}, change)
        assert batch(client, ONE, wait=1).status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"trackIds": [], "userId": "ada"}, "trackIds"),
        ({"trackIds": ["x"] * 501, "userId": "ada"}, "trackIds"),
        ({"trackIds": ["x", ""], "userId": "ada"}, "trackIds.1"),
        ({"trackIds": ["x"], "userId": ""}, "userId"),
        ({"trackIds": ["x"]}, "userId"),
        ({"trackIds": ["x"], "userId": "ada", "options": {"batchSize": 0}}, "options.batchSize"),
    ],
)
def test_a_bad_batch_is_refused_in_words_that_its_clients_know(client: httpx.Client, body: Json, field: str) -> None:
    problem = problem_of(client.post(PATH, json=body), 422, "invalid_request")

    assert problem["success"] is False
    assert [one["field"] for one in problem["errors"]] == [field]
    assert "success" not in client.post("/api/jobs/squares", json={"items": -1}).json()


# How the providers are


def providers(client: httpx.Client) -> dict[str, Json]:
    return {one["name"]: one for one in client.get("/api/providers").json()["providers"]}


def test_the_status_shows_what_was_learnt(client: httpx.Client, engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.closed.add("audio-features")
    assert providers(client)["spotify"]["endpoints"][0]["open"] is None

    engine.drive(engine.submit("track_features", trackIds=[ONE]).id)

    spotify, reccobeats = (providers(client)[name] for name in ("spotify", "reccobeats"))
    assert (spotify["place"], spotify["configured"]) == (0, True)
    assert spotify["endpoints"][0]["open"] is False
    assert "403" in spotify["endpoints"][0]["reason"]
    assert spotify["budgets"][1] == {"calls": 100, "seconds": 60.0, "remaining": 99}
    assert reccobeats["budgets"][1]["remaining"] == 99
    assert reccobeats["endpoints"][0]["breaker"] == "closed"


def test_the_status_shows_the_endpoint_that_is_sent_audio_where_that_is_on(
    client: httpx.Client, db: Db, chosen: Settings
) -> None:
    def names(listing: dict[str, Json]) -> list[str]:
        return [one["name"] for one in listing["reccobeats"]["endpoints"]]

    assert names(providers(client)) == ["audio-features", "track"]
    with serving(chosen.model_copy(update={"reccobeats_upload": True})) as other:
        assert names(providers(other)) == ["audio-features", "track", "analysis"]


def test_the_status_shows_breakers_and_pauses(
    client: httpx.Client, engine: Engine, fake: FakeProviders, chosen: Settings
) -> None:
    fake.reccobeats.always = Reply.error(500)
    fake.spotify.always = Reply.error(429, "QUOTA_EXCEEDED", headers={"Retry-After": "3600"})
    for n in range(2):
        job = engine.submit("track_features", trackIds=[track_id(n)])
        engine.plan(job.id)
        engine.run()

    spotify, reccobeats = (providers(client)[name] for name in ("spotify", "reccobeats"))
    assert 3500 < spotify["pausedSeconds"] <= 3600
    assert spotify["quotaSpent"] is True
    assert reccobeats["endpoints"][0]["breaker"] == "open"


def test_the_providers_are_shown_while_redis_is_away(db: Db, chosen: Settings) -> None:
    away = chosen.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    account = accounts(chosen)[Provider.SPOTIFY]
    provider_endpoints.learn(
        db, account.prefix, "spotify", "tracks", is_open=True, reason=None, kept=timedelta(hours=1)
    )
    with serving(away) as client:
        shown = providers(client)["spotify"]
        assert client.get("/api/cache/stats").status_code == 503
        assert client.delete("/api/cache", params={"tag": "user:ada"}).status_code == 503
    assert shown["budgets"][0]["remaining"] is None
    assert {one["name"] for one in shown["endpoints"] if one["open"]} == {"tracks"}
    assert {one["open"] for one in shown["endpoints"] if one["name"] != "tracks"} == {None}
    assert {one["breaker"] for one in shown["endpoints"]} == {None}


# Disagreements


def test_disagreements_come_in_pages(client: httpx.Client, db: Db) -> None:
    apart = [
        (
            track_id(n),
            Disagreement(field=name, kept=Provider.SPOTIFY, other=Provider.LOCAL, kept_value=1, other_value=2.5),
        )
        for n in range(3)
        for name in ("key", "tempo")
    ]
    disagreements.save(db, "ada", apart)
    disagreements.save(db, "bob", apart[:1])

    def read(**query: Any) -> list[Json]:
        found: list[Json] = []
        while True:
            page = client.get("/api/features/disagreements", params={"userId": "ada", "limit": 2, **query}).json()
            found += page["disagreements"]
            if page["nextCursor"] is None:
                return found
            query["after"] = page["nextCursor"]

    assert [(one["trackId"], one["field"]) for one in read()] == [(one, apart.field) for one, apart in apart]
    assert {one["field"] for one in read(field="tempo")} == {"tempo"}
    assert len(read(field="tempo")) == 3
    refused = client.get("/api/features/disagreements", params={"userId": "ada", "after": "bob\nx"})
    problem_of(refused, 400, "invalid_cursor")


# The cache


def test_the_cache_is_shown_and_emptied_by_tag(client: httpx.Client, chosen: Settings, redis_url: str) -> None:
    from shared.cache import Cache, CacheKind

    with Redis.from_url(redis_url) as redis:
        Cache(redis).put(CacheKind.LIBRARY, "list", [1, 2], tags=["playlist:1"])
    figures = client.get("/api/cache/stats").json()
    assert (figures["hit_rate"], figures["total_entries"], figures["memory_usage"]) == (None, 1, 6)
    assert set(figures["by_kind"]) == {"metadata", "library", "playback", "search"}

    assert client.delete("/api/cache", params={"tag": "playlist:1"}).json() == {"invalidated": 1}
    assert client.get("/api/cache/stats").json()["total_entries"] == 0
    assert client.delete("/api/cache").status_code == 422


def test_only_operators_see_and_empty_the_cache_that_is_everybodys(client: httpx.Client, db: Db) -> None:
    scopes = [scope for scope in Scope if scope is not Scope.ADMIN]
    with client_of(give_key(db, "beta", scopes), client.base_url) as other:
        problem_of(other.get("/api/cache/stats"), 403, "not_allowed")
        problem_of(other.delete("/api/cache", params={"tag": "user:*"}), 403, "not_allowed")


def test_a_gate_can_be_watched(client: httpx.Client, chosen: Settings) -> None:
    redis = connect_redis(chosen)
    assert redis is not None
    with redis:
        gate = Gate(accounts(chosen)[Provider.SPOTIFY], redis, chosen)
        for _ in range(3):
            gate.settle(gate.admit("tracks"), Verdict.ANSWERED)
    second, minute = providers(client)["spotify"]["budgets"]
    assert minute["remaining"] == 97
    assert second["remaining"] >= 7  # it may be over by now


# The command line


@pytest.fixture
def shell(client: httpx.Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("BACKLINE_URL", str(client.base_url).rstrip("/"))
    monkeypatch.setenv("BACKLINE_API_KEY", client.headers["authorization"].removeprefix("Bearer "))
    get_settings.cache_clear()
    return Shell(capsys)


@pytest.mark.usefixtures("working")
def test_a_list_of_ids_becomes_a_file_of_features(shell: Shell, fake: FakeProviders, tmp_path: Path) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda one: None if one == track_id(3) else WHOLE
    ids, target = tmp_path / "ids.txt", tmp_path / "features.json"
    ids.write_text("".join(f"{track_id(n)}\n" for n in (1, 2, 3, 1, 4)))

    answer = shell(
        "spotify", "batch-features", str(ids), "-o", str(target), "--limit", "3", "--batch-size", "2", "--user", "ada"
    )

    assert answer.code == 1  # one is known to nobody
    written = json.loads(target.read_text())
    assert [one["trackId"] for one in written["features"]] == [track_id(1), track_id(2)]
    assert written["features"][0]["sources"]["tempo"] == "spotify"
    assert [one["code"] for one in written["errors"]] == ["unknown_track"]
    assert (written["metadata"]["total_tracks"], len(written["metadata"]["jobs"])) == (2, 2)

    table = shell("spotify", "batch-features", str(ids), "-o", str(tmp_path / "features.csv"), "--user", "ada")
    assert table.code == 1
    rows = list(csv.DictReader((tmp_path / "features.csv").read_text().splitlines()))
    assert [(row["trackId"], row["status"]) for row in rows[:2]] == [(track_id(1), "cached"), (track_id(2), "cached")]


def test_a_dry_run_submits_nothing(shell: Shell, db: Db, tmp_path: Path) -> None:
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps({"track_ids": [track_id(n) for n in range(5)]}))
    answer = shell("spotify", "batch-features", str(ids), "--dry-run", "--batch-size", "2", "--json")

    assert answer.json == {"trackIds": [track_id(n) for n in range(5)], "jobs": 3}
    assert db["jobs"].count_documents({}) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read"),
        ("", "holds no path and no id"),
        ("# nothing\n\n", "holds no path and no id"),
        ('{"other": []}', "does not hold a list"),
        ('["1", 2]', "does not hold a list"),
        ('["1"', "no valid JSON"),
    ],
    ids=["no file", "empty", "only comments", "other fields", "numbers", "half of it"],
)
def test_what_is_no_list_at_all_is_refused_before_anything_is_done(
    shell: Shell, db: Db, tmp_path: Path, content: str | None, said: str
) -> None:
    ids = tmp_path / "ids.txt"
    if content is not None:
        ids.write_text(content)
    answer = shell("spotify", "batch-features", str(ids))

    assert answer.code == 2
    assert said in answer.line
    assert db["jobs"].count_documents({}) == 0


@pytest.mark.parametrize("option", [("--limit", "0"), ("--batch-size", "0"), ("--batch-size", "10001")])
def test_numbers_that_make_no_sense_are_refused(shell: Shell, tmp_path: Path, option: tuple[str, str]) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text(track_id(1))
    assert shell("spotify", "batch-features", str(ids), *option).code == 2


def test_a_list_of_paths_is_no_list_of_ids(shell: Shell, tmp_path: Path) -> None:
    paths = tmp_path / "paths.txt"
    paths.write_text("/music/one.mp3\n")

    assert "backline extract" in shell("spotify", "batch-features", str(paths)).line


def test_the_status_names_the_providers(shell: Shell, db: Db, chosen: Settings) -> None:
    account = accounts(chosen)[Provider.SPOTIFY]
    provider_endpoints.learn(
        db, account.prefix, "spotify", "audio-features", is_open=False, reason="no (403)", kept=timedelta(hours=1)
    )
    shown = shell("status").out

    assert "100 of 100 calls left; audio-features: no (403)" in shown
    assert "Reccobeats" in shown
    assert {one["name"] for one in shell("status", "--json").json["providers"]} == {"spotify", "reccobeats", "local"}
