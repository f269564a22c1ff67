"""Users connect their accounts at Spotify, their plays are read, and whoever takes the right back is asked anew."""

from __future__ import annotations

import base64
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.clock import now
from shared.items import ItemStatus
from shared.model import Db, Json
from shared.providers import connect_redis
from shared.settings import Settings
from shared.store import authorizations, connections, listening_history, provider_endpoints
from shared.store.database import StoreError
from shared.store.defaults import SPOTIFY_HISTORY, ensure_defaults
from shared.store.job_record import JobRecord, JobStatus
from shared.token_journal import NotedTokens, TokenJournal
from tests.api_server import problem_of, serving
from tests.fake_providers import FakeProviders, Reply, track_id
from tests.holders import client_of, give_key
from tests.integration.engine import Engine, engine_on
from tests.provider_stage import begin, connected, end, meeting, say_yes
from tests.waiting import wait_until
from workers.engine.ticking import tick
from workers.providers.services import close_services

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def client(db: Db, chosen: Settings) -> Iterator[httpx.Client]:
    with serving(chosen) as one:
        yield one


@pytest.fixture
def engine(db: Db, chosen: Settings) -> Iterator[Engine]:
    with engine_on(db, chosen) as one:
        yield one
    close_services()


def connection(client: httpx.Client, user: str = "ada") -> Json:
    found: Json = client.get(f"/api/spotify/connections/{user}").json()["connection"]
    return found


def sync(engine: Engine, **request: Any) -> JobRecord:
    return engine.drive(engine.submit("history_sync", **(request or {"userId": "ada"})).id)


def plays(db: Db, user: str = "ada") -> list[tuple[str, datetime]]:
    found = db[listening_history.COLLECTION].find({"userId": user}).sort("playedAt", 1)
    return [(one["trackId"], one["playedAt"]) for one in found]


def listen(fake: FakeProviders, count: int, *, start: int = 0, user: str = "ada") -> list[tuple[str, datetime]]:
    """Have a user play some tracks, and return them in their order."""
    heard = [(START + timedelta(minutes=3 * n), track_id(n)) for n in range(start, start + count)]
    fake.accounts.person(user).plays += heard
    return [(track, at) for at, track in heard]


# Connecting


def test_a_user_connects_their_account_and_the_tokens_are_kept_unreadable(
    client: httpx.Client, db: Db, fake: FakeProviders
) -> None:
    begun = begin(client)
    assert "code_challenge_method=S256" in begun["authorizeUrl"]
    assert connection(client)["status"] == "not_connected"
    brought = say_yes(begun)
    assert brought["state"] == begun["state"]

    answer = end(client, brought)

    shown = answer.json()["connection"]
    assert (shown["userId"], shown["status"]) == ("ada", "connected")
    assert "user-read-recently-played" in shown["scopes"]
    assert client.get("/api/spotify/connections").json()["connections"] == [shown]
    stored = str(db[connections.COLLECTION].find_one({})) + answer.text + client.get("/api/spotify/connections").text
    assert "access-ada" not in stored
    assert "refresh-ada" not in stored


def test_the_verifier_and_the_state_stay_unreadable_and_a_state_serves_once(client: httpx.Client, db: Db) -> None:
    begun = begin(client)
    stored = str(db[authorizations.COLLECTION].find_one({}))
    assert begun["state"] not in stored
    brought = say_yes(begun)

    assert end(client, brought).status_code == 200
    problem_of(end(client, brought), 404, "authorization_not_found")
    assert db[authorizations.COLLECTION].count_documents({}) == 0


def test_a_state_is_over_after_ten_minutes(client: httpx.Client, db: Db) -> None:
    brought = say_yes(begin(client))
    stored = db[authorizations.COLLECTION].find_one({})
    assert stored is not None
    assert timedelta(minutes=9) < stored["expiresAt"] - now() <= timedelta(minutes=10)
    db[authorizations.COLLECTION].update_one({}, {"$set": {"expiresAt": now() - timedelta(seconds=1)}})

    problem_of(end(client, brought), 404, "authorization_not_found")


def test_nobody_else_can_end_what_somebody_began(client: httpx.Client, db: Db) -> None:
    brought = say_yes(begin(client))
    with client_of(give_key(db, "beta"), client.base_url) as other:
        problem_of(end(other, brought), 404, "authorization_not_found")

    assert end(client, brought).status_code == 200


def test_who_says_no_is_not_connected(client: httpx.Client, fake: FakeProviders) -> None:
    fake.accounts.says_no = True
    answer = end(client, say_yes(begin(client)))

    assert "access_denied" in problem_of(answer, 409, "authorization_refused")["detail"]
    assert connection(client)["status"] == "not_connected"


def test_a_code_of_another_authorisation_is_refused(client: httpx.Client) -> None:
    mine, theirs = begin(client), begin(client, "bob")
    problem_of(end(client, {**say_yes(mine), "state": theirs["state"]}), 409, "authorization_refused")


def test_spotify_down_while_a_code_is_exchanged_is_said_to_be_so(client: httpx.Client, fake: FakeProviders) -> None:
    fake.accounts.script.append(Reply.error(503))
    problem_of(end(client, say_yes(begin(client))), 503, "service_unavailable")


@pytest.mark.parametrize(
    ("name", "value"),
    [("BACKLINE_SPOTIFY_CLIENT_ID", None), ("BACKLINE_TOKEN_KEY", None), ("BACKLINE_TOKEN_KEY", "too short")],
)
def test_without_an_app_or_a_key_nobody_can_connect(
    settings: Settings, db: Db, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    with meeting(settings, fake, monkeypatch, {name: value}) as known, serving(known) as client:
        body = {"userId": "ada", "redirectUri": "https://echotune.example/callback"}
        problem_of(client.post("/api/spotify/authorizations", json=body), 409, "provider_not_set_up")


def test_an_account_can_be_forgotten(client: httpx.Client, db: Db, fake: FakeProviders) -> None:
    connected(client, fake)
    assert client.delete("/api/spotify/connections/ada").json() == {"success": True, "forgotten": True}
    assert client.delete("/api/spotify/connections/ada").json()["forgotten"] is False
    assert connection(client)["status"] == "not_connected"
    assert db[connections.COLLECTION].count_documents({}) == 0


# Tokens


def test_an_expired_token_is_refreshed_and_the_new_one_kept(
    client: httpx.Client, engine: Engine, fake: FakeProviders
) -> None:
    connected(client, fake)
    listen(fake, 1)
    for n in range(3):
        fake.accounts.expire()
        assert sync(engine).status is JobStatus.SUCCEEDED
        assert fake.accounts.refreshes == n + 1  # each with the refresh token that the last one brought


def test_a_token_that_is_about_to_expire_is_refreshed_before_it_is_used(
    client: httpx.Client, engine: Engine, fake: FakeProviders
) -> None:
    fake.accounts.expires_in = 30
    connected(client, fake)
    fake.accounts.expires_in = 3600
    sync(engine)
    sync(engine)

    assert fake.accounts.refreshes == 1
    assert len(fake.spotify.calls) == 2  # none was refused


def test_who_takes_the_right_back_is_asked_to_connect_anew_and_left_alone_until_then(
    client: httpx.Client, engine: Engine, fake: FakeProviders
) -> None:
    connected(client, fake)
    fake.accounts.person("ada").is_revoked = True
    job = sync(engine)

    (item,) = engine.items(job.id)
    assert item.status is ItemStatus.FAILED
    assert item.error is not None
    assert item.error.code == "reconnect"
    assert connection(client)["status"] == "reconnect"
    calls = len(fake.spotify.calls)
    sync(engine)
    assert len(fake.spotify.calls) == calls

    fake.accounts.person("ada").is_revoked = False
    connected(client, fake)
    listen(fake, 1)
    assert connection(client)["status"] == "connected"
    assert sync(engine).status is JobStatus.SUCCEEDED


def test_tokens_under_another_key_ask_for_a_new_connection_and_break_nothing(
    client: httpx.Client, db: Db, fake: FakeProviders, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(client, fake)
    with meeting(chosen, fake, monkeypatch, {"BACKLINE_TOKEN_KEY": "x" * 40}) as other, engine_on(db, other) as engine:
        (item,) = engine.items(sync(engine).id)
    close_services()

    assert item.error is not None
    assert item.error.code == "reconnect"
    assert connection(client)["status"] == "connected"  # it was the other key that was wrong


def test_a_worker_without_the_key_says_so(
    client: httpx.Client, db: Db, fake: FakeProviders, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(client, fake)
    with meeting(chosen, fake, monkeypatch, {"BACKLINE_TOKEN_KEY": None}) as other, engine_on(db, other) as engine:
        (item,) = engine.items(sync(engine).id)
    close_services()

    assert item.error is not None
    assert item.error.code == "provider_credentials"
    assert "key" in item.error.message


def test_a_refresh_that_spotify_does_not_answer_keeps_the_connection(
    client: httpx.Client, engine: Engine, fake: FakeProviders
) -> None:
    connected(client, fake)
    fake.accounts.expire()
    fake.accounts.script.extend([Reply.error(503)] * 3)
    (item,) = engine.items(sync(engine).id)

    assert item.error is not None
    assert item.error.code == "provider_failed"
    assert connection(client)["status"] == "connected"
    assert sync(engine).status is JobStatus.SUCCEEDED


def test_a_token_that_somebody_else_refreshes_is_waited_for_without_a_worker(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders
) -> None:
    connected(client, fake)
    fake.accounts.expire()
    known = connections.find(db, "local", "ada")
    assert known is not None
    assert connections.begin_refresh(db, known, "another", hold=timedelta(seconds=60))
    job = engine.submit("history_sync", userId="ada")
    engine.plan(job.id)
    engine.run()

    assert engine.live(job.id) == 1
    assert fake.accounts.refreshes == 0
    connections.give_up_refresh(db, known, "another")
    assert engine.drive(job.id).status is JobStatus.SUCCEEDED


def test_one_of_many_refreshes_a_token(client: httpx.Client, db: Db, fake: FakeProviders) -> None:
    connected(client, fake)
    known = connections.find(db, "local", "ada")
    assert known is not None
    with ThreadPoolExecutor(8) as threads:
        hold = timedelta(seconds=60)
        won = list(threads.map(lambda n: connections.begin_refresh(db, known, f"one {n}", hold=hold), range(32)))
    assert won.count(True) == 1


REFRESH_AND_STOP = """
import sys, time
from shared.settings import get_settings
from shared.store import connections
from shared.store.database import connect
from workers.providers.services import services

def stop(*_, **__):
    print("answered", flush=True)
    time.sleep(60)

connections.end_refresh = stop
settings = get_settings()
users = services(settings, connect(settings)).spotify_users
users.tokens.get("local", "ada")
"""


def test_a_worker_that_is_killed_between_spotifys_answer_and_the_database_loses_no_token(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders, chosen: Settings
) -> None:
    fake.accounts.expires_in = 1
    connected(client, fake)
    fake.accounts.expires_in = 3600
    listen(fake, 1)
    with subprocess.Popen([sys.executable, "-c", REFRESH_AND_STOP], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"answered\n"
        worker.kill()
    db[connections.COLLECTION].update_one({}, {"$set": {"refreshFreeAt": now()}})  # its hold is over
    redis = connect_redis(chosen)
    assert redis is not None
    with redis:
        (noted,) = redis.keys("backline:providers:tokens:*")
        assert "ada-" not in str(redis.get(noted))  # as unreadable as in the database

    assert sync(engine).status is JobStatus.SUCCEEDED
    assert sync(engine).status is JobStatus.SUCCEEDED
    assert fake.accounts.refreshes == 1  # what it had got is what serves
    assert connection(client)["status"] == "connected"


def test_what_was_noted_of_a_former_connection_serves_no_other(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders, chosen: Settings
) -> None:
    fake.accounts.expires_in = 1
    connected(client, fake)
    known = connections.find(db, "local", "ada")
    redis = connect_redis(chosen)
    assert known is not None
    assert redis is not None
    with redis:
        journal = TokenJournal(redis)
        journal.note(known, NotedTokens(sealed="of the former", expires_at=now()))
        assert journal.find(known) is not None
        begun = begin(client)
        fake.accounts.signed_in = "bob"
        assert end(client, say_yes(begun)).status_code == 200
        again = connections.find(db, "local", "ada")
        assert again is not None
        assert redis.keys("backline:providers:tokens:*") == []
        journal.note(known, NotedTokens(sealed="of the former", expires_at=now()))
        assert journal.find(again) is None

    assert sync(engine).status is JobStatus.SUCCEEDED
    assert fake.accounts.refreshes == 1


def test_who_comes_late_with_fresh_tokens_has_the_only_ones_that_are_good(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders
) -> None:
    connected(client, fake)
    known = connections.find(db, "local", "ada")
    assert known is not None
    assert connections.begin_refresh(db, known, "slow", hold=timedelta(0))
    assert connections.begin_refresh(db, known, "another", hold=timedelta(seconds=60))
    connections.ask_to_reconnect(db, known, "it was refused with the old token")
    connections.end_refresh(db, known, sealed_tokens=known.sealed_tokens, token_expires_at=known.token_expires_at)

    assert connection(client)["status"] == "connected"
    assert sync(engine).status is JobStatus.SUCCEEDED


def test_tokens_and_secrets_are_in_no_log_however_much_is_logged(
    client: httpx.Client, engine: Engine, fake: FakeProviders, caplog: pytest.LogCaptureFixture, chosen: Settings
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "spotipy")
    connected(client, fake)
    fake.accounts.expire()
    listen(fake, 1)
    assert sync(engine).status is JobStatus.SUCCEEDED
    engine.drive(engine.submit("track_features", trackIds=[track_id(1)]).id)

    assert chosen.spotify_client_secret is not None
    basic = f"{chosen.spotify_client_id}:{chosen.spotify_client_secret.get_secret_value()}"
    secrets = ("access-ada", "refresh-ada", "code-1", "token-1", base64.b64encode(basic.encode()).decode())
    # The browser of this test logs by httpcore where it was sent.
    said = [one.getMessage() for one in caplog.records if not one.name.startswith(("httpcore", "httpx"))]
    assert said
    assert [one for one in said for secret in secrets if secret in one] == []


# Plays


def test_plays_are_stored_once_and_only_new_ones_are_asked_for(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders
) -> None:
    connected(client, fake)
    heard = listen(fake, 7)
    first = sync(engine)
    assert engine.items(first.id)[0].result == {
        "userId": "ada",
        "plays": 7,
        "known": 0,
        "until": heard[-1][1].isoformat().replace("+00:00", "Z"),
    }
    sync(engine)
    heard += listen(fake, 2, start=7)
    sync(engine)

    assert plays(db) == heard
    assert {one.endpoint for one in provider_endpoints.find_all(db) if one.is_open} >= {"recently-played"}
    asked = [call.query.get("after") for call in fake.spotify.calls]
    last = [str(int(at.timestamp() * 1000)) for _, at in (heard[6], heard[6])]
    assert asked == [None, *last]
    assert connection(client)["historyUntil"] == heard[-1][1].isoformat().replace("+00:00", "Z")


def test_what_was_stored_before_a_crash_is_not_stored_again(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders
) -> None:
    connected(client, fake)
    heard = listen(fake, 5)
    sync(engine)
    db[connections.COLLECTION].update_one({}, {"$set": {"historyAfter": None}})  # as if it had died before that
    job = sync(engine)

    assert plays(db) == heard
    assert engine.items(job.id)[0].result["known"] == 5  # type: ignore[index]


def test_plays_that_a_client_has_written_are_not_stored_again(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders
) -> None:
    connected(client, fake)
    heard = listen(fake, 3)
    db[listening_history.COLLECTION].insert_one({"userId": "ada", "trackId": heard[1][0], "playedAt": heard[1][1]})
    sync(engine)

    assert plays(db) == heard


def test_many_who_store_the_same_plays_at_once_store_them_once(db: Db) -> None:
    some = [listening_history.Play(track_id=track_id(n), played_at=START + timedelta(seconds=n)) for n in range(50)]
    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(lambda _: listening_history.add(db, "ada", some), range(16)))
    assert sum(new) == 50
    assert len(plays(db)) == 50


def test_the_cursor_stands_until_the_plays_are_written(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders
) -> None:
    connected(client, fake)
    listen(fake, 3)
    db.command("collMod", listening_history.COLLECTION, validator={"$jsonSchema": {"required": ["nobodyHasThis"]}})
    job = engine.submit("history_sync", userId="ada")
    engine.plan(job.id)
    with pytest.raises(StoreError):
        engine.run()
    assert connection(client)["historyUntil"] is None

    db.command("collMod", listening_history.COLLECTION, validator={})
    sync(engine)
    assert len(plays(db)) == 3


def test_everybody_who_is_connected_is_read(client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders) -> None:
    for user in ("ada", "bob", "eve"):
        connected(client, fake, user)
        listen(fake, 2, user=user)
    fake.accounts.person("bob").is_revoked = True
    job = sync(engine, allUsers=True)

    assert job.status is JobStatus.PARTIAL
    assert job.summary == {"users": 2, "failed": 1}
    assert (len(plays(db)), len(plays(db, "eve")), plays(db, "bob")) == (2, 2, [])
    assert sync(engine, allUsers=True).summary == {"users": 2, "failed": 0}


def test_who_is_not_connected_is_told_so_and_nobody_is_asked(engine: Engine, fake: FakeProviders) -> None:
    (item,) = engine.items(sync(engine).id)
    assert item.error is not None
    assert item.error.code == "not_connected"
    assert sync(engine, allUsers=True).status is JobStatus.SUCCEEDED
    assert fake.spotify.calls == []


def test_a_spent_quota_parks_the_sync(client: httpx.Client, engine: Engine, fake: FakeProviders) -> None:
    connected(client, fake)
    fake.spotify.script.append(Reply.error(429, "QUOTA_EXCEEDED", headers={"Retry-After": "86400"}))
    job = engine.submit("history_sync", userId="ada")
    engine.plan(job.id)
    engine.run()

    waiting = engine.job(job.id)
    assert waiting.status is JobStatus.WAITING_QUOTA
    assert waiting.resumes_at is not None
    assert waiting.resumes_at - now() > timedelta(hours=23)


def test_a_rest_of_a_day_is_shown_as_waiting(client: httpx.Client, engine: Engine, fake: FakeProviders) -> None:
    connected(client, fake)
    fake.spotify.script.append(Reply.error(429, headers={"Retry-After": "86400"}))
    job = engine.submit("history_sync", userId="ada")
    engine.plan(job.id)
    engine.run()

    assert engine.job(job.id).status is JobStatus.WAITING_QUOTA


def test_the_schedule_is_there_and_paused_until_somebody_wants_it(
    client: httpx.Client, engine: Engine, db: Db, fake: FakeProviders
) -> None:
    ensure_defaults(db)
    assert client.get(f"/api/schedules/{SPOTIFY_HISTORY}").json()["paused"] is True
    connected(client, fake)
    heard = listen(fake, 2)
    client.patch(f"/api/schedules/{SPOTIFY_HISTORY}", json={"paused": False, "everySeconds": 1})

    def submitted() -> Json | None:
        tick(engine.process)
        return db["jobs"].find_one({"kind": "history_sync"})

    job = wait_until(submitted, what="the scheduled job")
    assert job is not None
    engine.drive(job["_id"])
    assert plays(db) == heard
