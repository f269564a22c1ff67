"""Ids of tracks go in, the best features to be had come out, field by field, whatever the providers do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from mutagen.flac import FLAC
from redis import Redis

from shared.clock import now
from shared.errors import InvalidRequest
from shared.items import ItemStatus
from shared.ladder import Answer, merge
from shared.model import Db, Json
from shared.providers import Provider, connect_redis
from shared.settings import Settings
from shared.store import audio_features, audio_files, contents, disagreements, provider_answers, provider_endpoints
from shared.store.audio_files import AudioFile, FileTags
from shared.store.contents import Content, Features, Provenance
from shared.store.job_record import JobRecord, JobStatus
from tests.broken_audio import written
from tests.environment import environment_of
from tests.fake_providers import FEATURES, WHOLE, FakeProviders, Reply, track_id
from tests.integration.engine import Engine, engine_on
from tests.machine import free_port
from tests.provider_stage import begin_together, days_later
from tests.waiting import wait_until
from workers.providers.flights import Flights
from workers.providers.services import close_services

ONE, TWO, THREE = track_id(1), track_id(2), track_id(3)


@pytest.fixture
def chosen(
    settings: Settings, redis_url: str, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """Settings of somebody who meets the fakes, and whom Redis does not know yet."""
    with Redis.from_url(redis_url) as client:
        client.flushdb()
    more = {"BACKLINE_BREAKER_FAILURES": "4", "BACKLINE_SPOTIFY_CLIENT_ID": f"app of {settings.mongodb_database}"}
    with environment_of(monkeypatch, {**fake.variables, **more}) as own:
        yield own


@pytest.fixture
def engine(db: Db, chosen: Settings) -> Iterator[Engine]:
    with engine_on(db, chosen) as one:
        yield one
    close_services()


def find(engine: Engine, *ids: str, **more: Any) -> JobRecord:
    return engine.drive(engine.submit("track_features", trackIds=list(ids), userId="ada", **more).id)


def track(engine: Engine, one: str = ONE) -> Json:
    found = audio_features.find_track(engine.db, "ada", one)
    assert found is not None
    return found


# The ladder


def test_a_track_has_what_spotify_says_and_nobody_else_is_asked(engine: Engine, fake: FakeProviders) -> None:
    job = find(engine, ONE, TWO)

    assert job.status is JobStatus.SUCCEEDED
    assert track(engine).items() >= WHOLE.items()
    assert set(track(engine)["sources"].values()) == {"spotify"}
    assert track(engine)["confidence"]["tempo"] == 0.8
    assert [call.ids for call in fake.spotify.calls] == [(ONE, TWO)]
    assert fake.reccobeats.calls == []


def test_each_field_is_filled_by_the_first_who_knows_it(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = lambda _: {"tempo": 99.0, "time_signature": 3, "key": -1}
    find(engine, ONE)

    found = track(engine)
    assert (found["tempo"], found["time_signature"], found["key"]) == (99.0, 3, FEATURES["key"])
    assert (found["sources"]["tempo"], found["sources"]["key"]) == ("spotify", "reccobeats")
    assert (found["confidence"]["tempo"], found["confidence"]["key"]) == (0.8, 0.6)
    assert found["duration_ms"] is None
    assert "duration_ms" not in found["sources"]
    assert found["reasons"]["duration_ms"] == (
        "spotify: does not say; reccobeats: does not say; local: no file is known to be it"
    )


def test_a_closed_endpoint_is_learnt_once_and_remembered_for_a_day(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.closed.add("audio-features")
    find(engine, ONE)
    find(engine, TWO)

    assert len(fake.spotify.calls) == 1
    assert track(engine, TWO).items() >= FEATURES.items()
    (known,) = provider_endpoints.find_all(engine.db)
    assert (known.endpoint, known.is_open) == ("audio-features", False)
    assert timedelta(hours=23) < known.expires_at - now() <= timedelta(hours=24)
    assert "403" in track(engine)["reasons"]["time_signature"]


def test_answers_in_any_order_and_with_gaps_reach_the_right_tracks(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.closed.add("audio-features")
    fake.reccobeats.known = lambda one: None if one == TWO else {**FEATURES, "tempo": 100.0 + int(one)}
    job = find(engine, ONE, TWO, THREE)

    assert job.status is JobStatus.PARTIAL
    assert [track(engine, one)["tempo"] for one in (ONE, THREE)] == [101.0, 103.0]
    (failed,) = [item for item in engine.items(job.id) if item.status is ItemStatus.FAILED]
    assert failed.error is not None
    assert failed.error.code == "unknown_track"
    assert "reccobeats: does not know the track" in failed.error.message
    assert audio_features.find_track(engine.db, "ada", TWO) is None


def test_what_is_stored_is_not_asked_for(engine: Engine, fake: FakeProviders) -> None:
    find(engine, ONE)
    again = find(engine, ONE)

    assert again.progress.cached == 1
    assert len(fake.spotify.calls) == 1


def test_what_was_said_to_one_user_serves_another(engine: Engine, fake: FakeProviders) -> None:
    find(engine, ONE)
    engine.drive(engine.submit("track_features", trackIds=[ONE], userId="bob").id)

    assert len(fake.spotify.calls) == 1
    bobs = audio_features.find_track(engine.db, "bob", ONE)
    assert bobs is not None
    assert bobs.items() >= WHOLE.items()


def test_nobody_is_asked_again_about_what_nobody_knew(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: None
    assert find(engine, ONE).status is JobStatus.FAILED
    assert find(engine, ONE).status is JobStatus.FAILED

    assert (len(fake.spotify.calls), len(fake.reccobeats.calls)) == (1, 1)


@pytest.mark.parametrize("other", ["pcm:1234", "z" * 22], ids=["of ours", "of more than 128 bits"])
def test_ids_that_are_not_spotifys_are_not_sent_anywhere(engine: Engine, fake: FakeProviders, other: str) -> None:
    job = find(engine, other, ONE)

    assert [call.ids for call in fake.spotify.calls] == [(ONE,)]
    assert fake.reccobeats.calls == []
    failed = engine.items(job.id)[0]
    assert failed.error is not None
    assert "spotify: has no such ids" in failed.error.message


def test_a_request_may_narrow_and_reorder_the_providers(engine: Engine, fake: FakeProviders) -> None:
    find(engine, ONE, providers=["reccobeats"])
    assert fake.spotify.calls == []

    find(engine, TWO, providers=["reccobeats", "spotify"])
    sources = track(engine, TWO)["sources"]
    assert (sources["tempo"], sources["time_signature"]) == ("reccobeats", "spotify")


def test_a_request_can_not_name_whom_the_installation_leaves_alone(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    with engine_on(db, chosen.model_copy(update={"feature_providers": ("reccobeats",)})) as one:
        find(one, ONE, providers=["spotify", "reccobeats"])
        alone = find(one, TWO, providers=["spotify"])

    assert fake.spotify.calls == []
    assert "spotify: is not among those that this installation asks" in track(engine)["reasons"]["time_signature"]
    (item,) = engine.items(alone.id)
    assert item.error is not None
    assert "is not among those" in item.error.message
    with pytest.raises(InvalidRequest, match="nobody to ask"):
        find(engine, ONE, providers=["client"])


def test_values_from_audio_stay_and_others_fill_the_gaps(engine: Engine, fake: FakeProviders) -> None:
    provenance = Provenance(algorithm="a", version="1", effort="quick", decoder="d", window_seconds=1.0)
    heard = Features(tempo=90.0, energy=0.1)
    content = Content(id="h:1", content_hash="h", features=heard, confidence={"tempo": 0.9}, provenance=provenance)
    audio_features.upsert(engine.db, "ada", [(ONE, "/music/one.wav", content)])
    find(engine, ONE)

    found = track(engine)
    assert (found["tempo"], found["energy"], found["valence"]) == (90.0, 0.1, WHOLE["valence"])
    assert (found["sources"]["tempo"], found["sources"]["valence"]) == ("local", "spotify")
    assert found["confidence"]["tempo"] == 0.9
    assert found["contentHash"] == "h"


def test_what_a_client_has_written_stays_and_is_said_to_be_the_clients(engine: Engine, fake: FakeProviders) -> None:
    document = {"userId": "ada", "trackId": ONE, "tempo": 99.0, "key": -1, "createdAt": now()}
    engine.db[audio_features.COLLECTION].insert_one(document)
    find(engine, ONE)

    found = track(engine)
    assert (found["tempo"], found["key"]) == (99.0, WHOLE["key"])
    assert (found["sources"]["tempo"], found["sources"]["key"]) == ("client", "spotify")
    assert found["confidence"]["tempo"] == 0.5
    (one,), _ = disagreements.page(engine.db, "ada", field="tempo", limit=5)
    assert (one.kept, one.other) == (Provider.CLIENT, Provider.SPOTIFY)


def test_who_comes_with_less_at_the_same_time_takes_nothing_away(db: Db) -> None:
    for before in ({}, {ONE: {"tempo": None}}):
        db[audio_features.COLLECTION].delete_many({})
        less = merge([Answer(provider=Provider.RECCOBEATS, values={"energy": 0.5})], {"spotify": "is down"})
        audio_features.upsert_merged(db, "ada", [(ONE, merge([Answer(provider=Provider.SPOTIFY, values=WHOLE)], {}))])
        audio_features.upsert_merged(db, "ada", [(ONE, less)], before=before)

        found = audio_features.find_track(db, "ada", ONE)
        assert found is not None
        assert (found["tempo"], found["sources"]["tempo"]) == (WHOLE["tempo"], "spotify")
        assert (found["energy"], found["sources"]["energy"]) == (0.5, "reccobeats")


def test_an_analysis_of_the_audio_leaves_what_only_others_know(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings, tmp_path: Path
) -> None:
    fake.spotify.known = lambda _: {"valence": 0.9, "duration_ms": 1}
    find(engine, ONE)
    path = tmp_path / "one.flac"
    path.write_bytes(written("FLAC"))
    with engine_on(db, chosen.model_copy(update={"music_roots": (tmp_path,)})) as one:
        tracks = [{"trackId": ONE, "path": str(path)}]
        for _ in range(2):
            one.drive(one.submit("audio_features", userId="ada", tracks=tracks, effort="quick").id)

    found = track(engine)
    assert (found["valence"], found["sources"]["valence"], found["confidence"]["valence"]) == (0.9, "spotify", 0.8)
    assert "valence" not in found["reasons"]
    assert found["duration_ms"] > 1
    assert found["sources"]["duration_ms"] == "local"


def test_force_lets_providers_take_the_place_of_what_is_stored(engine: Engine, fake: FakeProviders) -> None:
    find(engine, ONE, providers=["reccobeats"])
    find(engine, ONE, force=True)

    assert set(track(engine)["sources"].values()) == {"spotify"}


def test_disagreements_are_kept(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = lambda _: {**FEATURES, "tempo": 60.0, "energy": 0.65}
    find(engine, ONE)

    (one,), cursor = disagreements.page(engine.db, "ada", limit=10)
    assert (one.field, one.kept, one.other) == ("tempo", Provider.SPOTIFY, Provider.RECCOBEATS)
    assert (one.kept_value, one.other_value, one.track_id) == (60.0, 120.0, ONE)
    assert cursor is None
    assert disagreements.page(engine.db, "ada", field="energy", limit=10) == ([], None)
    assert disagreements.page(engine.db, "bob", limit=10) == ([], None)


def test_a_disagreement_is_over_when_they_agree(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = lambda _: {**FEATURES, "tempo": 60.0, "energy": 0.1}
    find(engine, ONE)
    assert len(disagreements.page(engine.db, "ada", limit=10)[0]) == 2
    hours_ago = now() - timedelta(hours=2)
    engine.db[provider_answers.COLLECTION].update_many({}, {"$set": {"fetchedAt": hours_ago}})
    fake.spotify.known = lambda _: {**FEATURES, "energy": 0.1}
    find(engine, ONE, force=True)

    left, _ = disagreements.page(engine.db, "ada", limit=10)
    assert [one.field for one in left] == ["energy"]


def test_the_user_is_summed_up_once_at_the_end(engine: Engine, fake: FakeProviders) -> None:
    find(engine, *(track_id(n) for n in range(450)))

    user = engine.db[audio_features.USERS].find_one({"userId": "ada"})
    assert user is not None
    assert user["audioFeaturesSummary"]["tracks"] == 450
    assert user["audioFeaturesSummary"]["averages"]["tempo"] == 120.0
    assert user["lastProcessed"] is not None
    assert sorted(len(call.ids) for call in fake.spotify.calls) == [50, 100, 100, 100, 100]


def test_reccobeats_is_asked_for_forty_at_a_time(engine: Engine, fake: FakeProviders) -> None:
    find(engine, *(track_id(n) for n in range(200)), providers=["reccobeats"])

    assert [len(call.ids) for call in fake.reccobeats.calls] == [40] * 5


# What may go wrong


TROUBLES = {
    "500": Reply.error(500),
    "502 in words": Reply(status=502, body=b"<html>Bad gateway</html>"),
    "reset": Reply(resets=True),
    "half an answer": Reply(body=b'{"content": [', cut=True),
    "503 with another body": Reply(status=503, body=b'{"error": "down"}'),
    "500 with a list": Reply(status=500, body=b"[]"),
}


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.parametrize("side", ["spotify", "reccobeats"])
def test_a_passing_trouble_is_passed_over(engine: Engine, fake: FakeProviders, name: str, side: str) -> None:
    service = getattr(fake, side)
    service.script.extend([TROUBLES[name], TROUBLES[name]])

    job = find(engine, ONE, providers=[side])

    assert job.status is JobStatus.SUCCEEDED
    assert len(service.calls) == 3
    assert set(track(engine)["sources"].values()) == {side}


NONSENSE = {
    "no JSON": Reply(body=b"{not JSON"),
    "a list": Reply(body=b"[]"),
    "nothing": Reply(body=b""),
    "other words": Reply(body=b'{"audio_features": 7, "content": [{"tempo": 1}]}'),
    "an error in words": Reply(status=418, body=b'{"error": "a teapot"}'),
}


@pytest.mark.parametrize("name", NONSENSE)
@pytest.mark.parametrize("side", ["spotify", "reccobeats"])
def test_nonsense_is_not_asked_for_again_and_not_believed(
    engine: Engine, fake: FakeProviders, name: str, side: str
) -> None:
    service, other = getattr(fake, side), "reccobeats" if side == "spotify" else "spotify"
    service.script.append(NONSENSE[name])

    job = find(engine, ONE, providers=[side, other])

    assert job.status is JobStatus.SUCCEEDED
    assert len(service.calls) == 1
    assert set(track(engine)["sources"].values()) == {other}


def test_a_batch_that_is_refused_leaves_the_others_alone(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.script.append(Reply.error(400))
    find(engine, *(track_id(n) for n in range(200)))

    assert len(fake.spotify.calls) == 2
    sources = [track(engine, track_id(n))["sources"]["tempo"] for n in (0, 199)]
    assert sources == ["reccobeats", "spotify"]


def test_values_out_of_range_are_no_values(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = lambda _: {**WHOLE, "energy": 7, "key": True, "tempo": None, "valence": "high", "mode": 0.5}
    find(engine, ONE)

    sources = track(engine)["sources"]
    assert {sources[name] for name in ("energy", "key", "tempo", "valence", "mode")} == {"reccobeats"}


def test_a_provider_that_hangs_is_given_up(engine: Engine, fake: FakeProviders, db: Db, chosen: Settings) -> None:
    impatient = chosen.model_copy(update={"provider_timeout_seconds": 0.2})
    fake.spotify.always = Reply(hangs=True)
    with engine_on(db, impatient) as one:
        job = find(one, ONE)

    assert job.status is JobStatus.SUCCEEDED
    assert set(track(engine)["sources"].values()) == {"reccobeats"}
    assert "spotify: Spotify can't be reached" in track(engine)["reasons"]["time_signature"]


def test_a_provider_that_is_down_for_a_whole_job_is_asked_until_the_breaker_opens(
    engine: Engine, fake: FakeProviders
) -> None:
    fake.spotify.always = Reply.error(503)
    job = find(engine, *(track_id(n) for n in range(1000)))

    assert job.status is JobStatus.SUCCEEDED
    assert job.progress.succeeded == 1000
    assert len(fake.spotify.calls) == 4
    assert set(track(engine)["sources"].values()) == {"reccobeats"}
    assert "spotify does not answer" in track(engine, track_id(999))["reasons"]["time_signature"]


def test_after_that_one_probe_an_interval_is_made(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    fake.spotify.always = Reply.error(503)
    short = chosen.model_copy(update={"breaker_seconds": 0.5, "reccobeats_budget": "1000 per second"})
    with engine_on(db, short) as one:
        started = now()
        for n in range(40):
            find(one, *(track_id(1000 * n + k) for k in range(200)))
            if (now() - started).total_seconds() > 3:
                break
        seconds = (now() - started).total_seconds()

    probes = fake.spotify.calls[4:]
    assert 1 <= len(probes) <= seconds / 0.5
    assert all(later.at - earlier.at >= 0.5 for earlier, later in pairwise(probes))


def test_an_expired_token_is_replaced(engine: Engine, fake: FakeProviders) -> None:
    find(engine, ONE)
    fake.valid_tokens.clear()  # an hour later
    find(engine, TWO)

    assert fake.tokens_given == 2
    assert set(track(engine, TWO)["sources"].values()) == {"spotify"}


@pytest.mark.parametrize("way", ["refuses_tokens", "refuses_app"])
def test_revoked_credentials_are_not_tried_again_and_again(engine: Engine, fake: FakeProviders, way: str) -> None:
    setattr(fake, way, True)
    find(engine, ONE)
    find(engine, TWO)

    assert len(fake.spotify.calls) <= 2
    assert fake.tokens_given <= 2
    assert set(track(engine, TWO)["sources"].values()) == {"reccobeats"}
    assert "credentials" in track(engine, TWO)["reasons"]["time_signature"]


def test_without_credentials_spotify_is_not_asked(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    with engine_on(db, chosen.model_copy(update={"spotify_client_id": None})) as one:
        find(one, ONE)

    assert fake.spotify.calls == []
    assert "spotify: is not set up" in track(engine)["reasons"]["time_signature"]


# Budgets


def park(engine: Engine, *ids: str) -> tuple[JobRecord, Json]:
    """Run a job until its chunk is put back; return the job and the chunk."""
    job = engine.submit("track_features", trackIds=list(ids), userId="ada")
    engine.plan(job.id)
    engine.run()
    (chunk,) = engine.db["chunks"].find({"jobId": job.id})
    return engine.job(job.id), chunk


def resume(engine: Engine, job: JobRecord, chunk: Json) -> JobRecord:
    """Let the time come that a chunk waits for."""
    days_later(engine.settings.redis_url or "")
    engine.db["chunks"].update_one({"_id": chunk["_id"]}, {"$set": {"visibleAt": now()}})
    engine.db["jobs"].update_one({"_id": job.id, "resumesAt": {"$ne": None}}, {"$set": {"resumesAt": now()}})
    return engine.drive(job.id)


def test_a_short_rest_is_waited_for_without_a_worker(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.script.append(Reply.error(429, headers={"Retry-After": "1"}))
    job, chunk = park(engine, ONE)

    assert job.status is JobStatus.RUNNING
    assert (chunk["process"], chunk["attempts"]) == (None, 0)
    assert timedelta(0) < chunk["visibleAt"] - now() <= timedelta(seconds=1)
    assert fake.reccobeats.calls == []  # it will be Spotify's turn in a moment

    assert resume(engine, job, chunk).status is JobStatus.SUCCEEDED
    assert set(track(engine)["sources"].values()) == {"spotify"}


LONG = {
    "a day of rest": (Reply.error(429, headers={"Retry-After": "86400"}), timedelta(days=1)),
    "a quota": (Reply.error(429, "QUOTA_EXCEEDED", headers={"Retry-After": "7200"}), timedelta(hours=2)),
    "a day of rest with another body": (
        Reply(status=429, body=b'{"error": "slow down"}', headers={"Retry-After": "86400"}),
        timedelta(days=1),
    ),
    "a quota by its reason": (Reply.error(403, reason="QUOTA_EXCEEDED"), timedelta(hours=1)),
}


@pytest.mark.parametrize("name", LONG)
def test_a_long_rest_is_shown_and_the_others_are_asked_meanwhile(
    engine: Engine, fake: FakeProviders, name: str
) -> None:
    reply, wait = LONG[name]
    fake.spotify.script.append(reply)
    job, chunk = park(engine, ONE, TWO)

    assert job.status is JobStatus.WAITING_QUOTA
    assert job.resumes_at is not None
    assert wait - timedelta(seconds=20) < job.resumes_at - now() <= wait
    assert chunk["visibleAt"] == job.resumes_at
    assert track(engine).items() >= FEATURES.items()  # of use already
    assert provider_endpoints.find_all(engine.db) == []  # a quota is no closed door

    ended = resume(engine, job, chunk)
    assert ended.status is JobStatus.SUCCEEDED
    assert track(engine)["time_signature"] == WHOLE["time_signature"]
    assert len(fake.reccobeats.calls) == 1


def test_who_wants_another_rest_after_each_is_left_alone_like_who_fails(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.always = Reply.error(429, headers={"Retry-After": "1"})
    job = find(engine, ONE, TWO)

    assert job.status is JobStatus.SUCCEEDED
    assert len(fake.spotify.calls) == 4
    assert all(later.at - earlier.at >= 1 for earlier, later in pairwise(fake.spotify.calls))
    assert set(track(engine)["sources"].values()) == {"reccobeats"}
    assert "spotify does not answer" in track(engine)["reasons"]["time_signature"]


def test_rests_with_answers_in_between_open_no_breaker(engine: Engine, fake: FakeProviders) -> None:
    rest = Reply.error(429, headers={"Retry-After": "1"})
    fake.spotify.script.extend([rest, rest, rest, None, rest, rest, rest, None])
    for one in (ONE, TWO):
        find(engine, one)
        assert set(track(engine, one)["sources"].values()) == {"spotify"}


def test_a_rest_that_is_asked_for_where_tokens_are_given_is_kept(engine: Engine, fake: FakeProviders) -> None:
    fake.accounts.script.append(Reply.error(429, headers={"Retry-After": "7200"}))
    job, _ = park(engine, ONE)

    assert job.status is JobStatus.WAITING_QUOTA
    assert fake.spotify.calls == []
    assert track(engine).items() >= FEATURES.items()


def test_a_provider_that_wants_no_rest_gets_a_second(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.script.append(Reply.error(429, headers={"Retry-After": "0"}))
    job, chunk = park(engine, ONE)

    assert chunk["visibleAt"] - now() > timedelta(seconds=0.3)
    assert engine.drive(job.id).status is JobStatus.SUCCEEDED
    assert len(fake.spotify.calls) == 2


def test_who_waits_for_one_for_a_day_waits_no_longer_for_the_others_than_they_want(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    fake.spotify.always = Reply.error(429, "QUOTA_EXCEEDED", headers={"Retry-After": "86400"})
    ids = [track_id(n) for n in range(120)]
    with engine_on(db, chosen.model_copy(update={"reccobeats_budget": "1 per second"})) as one:
        job = one.submit("track_features", trackIds=ids, userId="ada")
        one.plan(job.id)

        def waits_for_the_quota() -> bool:
            one.run()
            return one.job(job.id).status is JobStatus.WAITING_QUOTA

        wait_until(waits_for_the_quota, what="the quota alone being waited for")
        waiting = one.job(job.id)

    assert [len(call.ids) for call in fake.reccobeats.calls] == [40, 40, 40]
    assert engine.db[audio_features.COLLECTION].count_documents({"userId": "ada"}) == 120
    assert waiting.resumes_at is not None
    assert waiting.resumes_at - now() > timedelta(hours=23)


def test_what_somebody_else_asks_for_is_waited_for_without_a_worker(
    engine: Engine, fake: FakeProviders, chosen: Settings
) -> None:
    redis = connect_redis(chosen)
    assert redis is not None
    with redis, Flights(redis, chosen).asking("spotify:features", [ONE]) as mine:
        assert mine == {ONE}
        job, chunk = park(engine, ONE, TWO)
        assert [call.ids for call in fake.spotify.calls] == [(TWO,)]
        assert job.status is JobStatus.RUNNING
        assert chunk["visibleAt"] - now() <= timedelta(seconds=1)
        assert fake.reccobeats.calls == []

    assert engine.drive(job.id).status is JobStatus.SUCCEEDED
    assert [call.ids for call in fake.spotify.calls] == [(TWO,), (ONE,)]


def test_many_who_ask_at_once_make_one_call(engine: Engine, fake: FakeProviders, db: Db, chosen: Settings) -> None:
    fake.spotify.delay_seconds = 0.3  # so long that all have begun
    jobs = begin_together(engine, ONE, users=6)

    assert {engine.drive(job.id).status for job in jobs} == {JobStatus.SUCCEEDED}
    assert len(fake.spotify.calls) == 1


def test_who_has_everything_from_the_others_does_not_wait(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.always = Reply.error(429, "QUOTA_EXCEEDED", headers={"Retry-After": "7200"})
    fake.reccobeats.known = lambda _: WHOLE

    assert find(engine, ONE).status is JobStatus.SUCCEEDED


def test_a_rest_of_weeks_is_not_waited_for(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.always = Reply.error(429, "QUOTA_EXCEEDED", headers={"Retry-After": "2000000"})

    assert find(engine, ONE).status is JobStatus.SUCCEEDED
    assert "spotify: The quota at Spotify is spent" in track(engine)["reasons"]["time_signature"]


def test_what_was_answered_before_the_budget_was_spent_is_not_asked_again(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    tight = chosen.model_copy(update={"spotify_budget": "1 per minute"})
    ids = [track_id(n) for n in range(200)]
    with engine_on(db, tight) as one:
        job, chunk = park(one, *ids)
        assert len(chunk["ended"]) == 100
        assert timedelta(seconds=50) < chunk["visibleAt"] - now() <= timedelta(seconds=60)
        ended = resume(one, job, chunk)

    assert ended.status is JobStatus.SUCCEEDED
    assert [call.ids for call in fake.spotify.calls] == [tuple(ids[:100]), tuple(ids[100:])]


def test_without_redis_everything_is_found_within_a_safe_share(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    close_services()  # others know their Redis
    more = {"redis_url": f"redis://127.0.0.1:{free_port()}/0", "spotify_budget": "32 per second"}
    ids = [track_id(n) for n in range(300)]
    with engine_on(db, chosen.model_copy(update=more)) as one:
        job = find(one, *ids)

    assert job.status is JobStatus.SUCCEEDED
    assert len(fake.spotify.calls) == 3
    assert fake.spotify.most_within(1.0) <= 2  # a sixteenth


# Audio of ours

MBID = "b1a9c0e9-d987-4042-ae91-78d6a3267d69"


def keep_file(engine: Engine, name: str, **tags: Any) -> None:
    """Let a file be known that was analysed, and bears these tags."""
    provenance = Provenance(algorithm="a", version="1", effort="quick", decoder="d", window_seconds=1.0)
    heard = Features(tempo=90.0, time_signature=3, duration_ms=200_000)
    content = Content(id=f"{name}:1-quick", content_hash=name, features=heard, provenance=provenance)
    contents.save(engine.db, content, {})
    known = FileTags(**tags) if tags else None
    file = AudioFile(path=f"/music/{name}.mp3", size=1, mtime_ns=1, decoder="d", content_hash=name, tags=known)
    audio_files.save(engine.db, file)


def named(**other: Any) -> Any:
    return lambda _: {"title": "Für Elise (feat. Ann)", "artist": "Ludwig", "ms": 201_000, "isrc": None, **other}


@pytest.mark.parametrize("side", ["spotify", "reccobeats"])
@pytest.mark.parametrize(
    ("tags", "other", "by"),
    [
        ({"isrc": "USUM72104140"}, {"isrc": "USUM72104140"}, "isrc"),
        ({"title_key": "fur elise", "artist_key": "ludwig", "seconds": 200.0}, {}, "name"),
    ],
)
def test_a_track_that_is_a_file_of_ours_has_what_its_audio_says(
    engine: Engine, fake: FakeProviders, side: str, tags: Json, other: Json, by: str
) -> None:
    for service in (fake.spotify, fake.reccobeats):
        service.known = lambda _: {"tempo": 180.0}
        service.named = named(**other) if service is getattr(fake, side) else lambda _: None
    keep_file(engine, "elise", **tags)
    keep_file(engine, "other", isrc="USUM72104141", title_key="fur elise", artist_key="somebody else", seconds=200.0)

    find(engine, ONE)

    found = track(engine)
    assert (found["tempo"], found["time_signature"]) == (180.0, 3)
    assert (found["sources"]["tempo"], found["sources"]["time_signature"]) == ("spotify", "local")
    assert (found["localMatch"]["path"], found["localMatch"]["by"]) == ("/music/elise.mp3", by)
    assert 0.8 < found["localMatch"]["score"] < 1
    assert [one.other for one in disagreements.page(engine.db, "ada", field="tempo", limit=5)[0]] == [Provider.LOCAL]


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_of_several_files_of_one_isrc_the_one_of_the_tracks_length_is_taken(
    engine: Engine, fake: FakeProviders, names: tuple[str, str]
) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    fake.reccobeats.named = named(isrc="USUM72104140")
    whole, live = names
    keep_file(engine, whole, isrc="USUM72104140", seconds=200.0)
    keep_file(engine, live, isrc="USUM72104140", seconds=320.0)
    find(engine, ONE)

    assert track(engine)["localMatch"]["path"] == f"/music/{whole}.mp3"


def test_musicbrainz_ids_need_nobody_who_says_what_they_are(engine: Engine, fake: FakeProviders) -> None:
    keep_file(engine, "one", recording_id=MBID)
    find(engine, MBID)

    assert track(engine, MBID)["localMatch"]["score"] == 1.0
    assert fake.spotify.calls == fake.reccobeats.calls == []


@pytest.mark.parametrize("other", [{"seconds": 260.0}, {"artist_key": "karajan"}, {"title_key": "fur elise live"}])
def test_a_file_that_may_be_another_recording_is_not_taken(engine: Engine, fake: FakeProviders, other: Json) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    fake.spotify.named = fake.reccobeats.named = named()
    keep_file(engine, "one", **{"title_key": "fur elise", "artist_key": "ludwig", "seconds": 200.0, **other})
    find(engine, ONE)

    assert "localMatch" not in track(engine)
    assert "local: no file is known to be it" in track(engine)["reasons"]["time_signature"]


def test_what_tracks_are_is_asked_once_a_day(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    keep_file(engine, "one", isrc="USUM72104140")
    for user in ("ada", "bob"):
        engine.drive(engine.submit("track_features", trackIds=[ONE], userId=user).id)

    assert [call.path for call in fake.reccobeats.calls] == ["audio-features", "track"]


def test_where_batches_of_tracks_are_closed_they_are_read_one_by_one(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    fake.spotify.named, fake.reccobeats.named = named(isrc="USUM72104140"), lambda _: None
    fake.spotify.closed.add("tracks")
    keep_file(engine, "one", isrc="USUM72104140")
    find(engine, ONE, TWO)
    find(engine, THREE)

    paths = [call.path for call in fake.spotify.calls if call.path != "audio-features"]
    assert paths == ["tracks", *(f"tracks/{one}" for one in (ONE, TWO, THREE))]
    assert {one.endpoint: one.is_open for one in provider_endpoints.find_all(engine.db)} == {
        "audio-features": True,
        "track": True,
        "tracks": False,
    }
    assert track(engine, THREE)["localMatch"]["by"] == "isrc"


def test_a_track_that_spotify_does_not_have_says_nothing_of_the_endpoint(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    fake.reccobeats.named = lambda _: None
    fake.spotify.named = lambda one: None if one == ONE else named(isrc="USUM72104140")(one)
    fake.spotify.closed.add("tracks")
    keep_file(engine, "one", isrc="USUM72104140")
    find(engine, ONE, TWO)

    assert track(engine, TWO)["localMatch"]["by"] == "isrc"
    assert {one.endpoint: one.is_open for one in provider_endpoints.find_all(engine.db)}["track"] is True


def test_reading_track_by_track_gets_on_within_the_budget_and_asks_nobody_twice(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    fake.spotify.named, fake.reccobeats.named = named(isrc="USUM72104140"), lambda _: None
    fake.spotify.closed.add("tracks")
    keep_file(engine, "one", isrc="USUM72104140")
    ids = [track_id(n) for n in range(12)]
    with engine_on(db, chosen.model_copy(update={"spotify_budget": "5 per second"})) as one:
        job = find(one, *ids)

    assert job.status is JobStatus.SUCCEEDED
    single = [call.path for call in fake.spotify.calls if call.path.startswith("tracks/")]
    assert sorted(single) == [f"tracks/{one}" for one in ids]
    assert {track(engine, one)["sources"]["time_signature"] for one in ids} == {"local"}


def test_what_a_track_is_is_known_in_whatever_company_it_is_asked_for(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    fake.reccobeats.named = named(isrc="USUM72104141")
    keep_file(engine, "one", isrc="USUM72104140")
    find(engine, ONE, TWO)
    find(engine, TWO, THREE)

    assert [call.ids for call in fake.reccobeats.calls if call.path == "track"] == [(ONE, TWO), (THREE,)]


def test_files_are_found_by_the_tags_that_an_analysis_has_read(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings, tmp_path: Path
) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: None
    fake.spotify.named = named(isrc="us-um7-21-04140")
    path = tmp_path / "one.flac"
    path.write_bytes(written("FLAC"))
    tags = FLAC(path)  # type: ignore[no-untyped-call]
    tags["isrc"] = "USUM72104140"
    tags.save()
    with engine_on(db, chosen.model_copy(update={"music_roots": (tmp_path,)})) as one:
        one.drive(one.submit("audio_features", paths=[str(path)], effort="quick").id)
        job = find(one, ONE)

    assert job.status is JobStatus.SUCCEEDED
    assert track(engine)["localMatch"]["by"] == "isrc"
    assert track(engine)["sources"]["duration_ms"] == "local"
    assert track(engine)["duration_ms"] > 0


def test_a_budget_that_hides_what_a_track_is_is_waited_for(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: FEATURES
    fake.spotify.named = named(isrc="USUM72104140")
    fake.reccobeats.named = lambda _: None
    keep_file(engine, "one", isrc="USUM72104140")
    tight = {"spotify_budget": "1 per minute", "reccobeats_budget": "1 per minute"}
    with engine_on(db, chosen.model_copy(update=tight)) as one:
        job, chunk = park(one, ONE)
        assert timedelta(seconds=50) < chunk["visibleAt"] - now() <= timedelta(seconds=60)
        resume(one, job, chunk)

    assert track(engine)["sources"]["time_signature"] == "local"


# What may be searched


def test_what_comes_from_spotify_enters_no_index_unless_the_operator_may(
    engine: Engine, fake: FakeProviders, db: Db, chosen: Settings
) -> None:
    from shared.jobs.job import JobContext
    from shared.jobs.vector_index import Request, join_track_key
    from workers.indexing.job import source_of

    fake.spotify.known = lambda _: {"tempo": 99.0}
    # As EchoTune has written them from what Spotify told it.
    engine.db[audio_features.COLLECTION].insert_one({"userId": "ada", "trackId": TWO, "tempo": 99.0})
    job = find(engine, ONE)

    def attributes(settings: Settings, one: str = ONE) -> Any:
        key = join_track_key("ada", one)
        source = source_of(Request(index="tracks"), JobContext.of(job, db, settings))  # type: ignore[arg-type]
        return source.find([key])[key].entry.attributes

    assert track(engine)["tempo"] == 99.0
    assert attributes(chosen)["tempo"] is None
    assert attributes(chosen)["energy"] == FEATURES["energy"]
    may = chosen.model_copy(update={"spotify_may_train": True})
    assert attributes(may)["tempo"] == 99.0
    assert attributes(chosen, TWO)["tempo"] is None
    find(engine, TWO)
    assert (attributes(chosen, TWO)["tempo"], attributes(may, TWO)["tempo"]) == (None, 99.0)
    assert attributes(chosen, TWO)["valence"] == FEATURES["valence"]


def test_no_secret_is_stored(engine: Engine, fake: FakeProviders, chosen: Settings, tmp_path: Path) -> None:
    find(engine, ONE)

    everything = str([list(engine.db[name].find()) for name in engine.db.list_collection_names()])
    with Redis.from_url(chosen.redis_url or "") as client:
        everything += str([(key, client.type(key)) for key in client.keys("backline:providers:*")])
    assert "secret" not in everything
    (token,) = fake.valid_tokens
    assert token not in everything
