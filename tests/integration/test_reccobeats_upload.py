"""Audio is sent to ReccoBeats only where the operator lets it: the beginning of a file, once, for what nobody knows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import soundfile
from mutagen.flac import FLAC
from redis import Redis

from shared.clock import now
from shared.items import ItemStatus
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import audio_features
from shared.store.job_record import JobRecord, JobStatus
from tests.broken_audio import chord
from tests.environment import environment_of
from tests.fake_providers import ANALYSIS, HEARD, WHOLE, FakeProviders, Reply, track_id
from tests.integration.engine import Engine, engine_on
from tests.provider_stage import begin_together, days_later
from workers.providers.services import close_services

MBID, OTHER = "b1a9c0e9-d987-4042-ae91-78d6a3267d69", "0b1c7f43-2d5e-4a52-9f1f-6f4f1f3b7a10"
ISRC = "USUM72104140"
SOURCE = "reccobeats_upload"


@pytest.fixture
def off(
    settings: Settings, redis_url: str, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Settings]:
    """Settings of somebody who has said nothing about sending audio."""
    with Redis.from_url(redis_url) as client:
        client.flushdb()
    more = {"BACKLINE_BREAKER_FAILURES": "4", "BACKLINE_MUSIC_ROOTS": str(tmp_path)}
    with environment_of(monkeypatch, {**fake.variables, **more}) as own:
        yield own


@pytest.fixture
def on(off: Settings) -> Settings:
    return off.model_copy(update={"reccobeats_upload": True})


@pytest.fixture
def engine(db: Db, on: Settings) -> Iterator[Engine]:
    with engine_on(db, on) as one:
        yield one
    close_services()


def keep(engine: Engine, path: Path, recording: str = MBID, *, seconds: float = 45.0, rate: int = 48_000) -> None:
    """Have a tagged file be analysed, in the way that leaves features open."""
    soundfile.write(path, chord(rate=rate, seconds=seconds), rate)
    tags = FLAC(path)  # type: ignore[no-untyped-call]
    tags["musicbrainz_trackid"] = recording
    tags["isrc"] = ISRC
    tags.save()
    job = engine.drive(engine.submit("audio_features", paths=[str(path)], effort="quick").id)
    assert job.status is JobStatus.SUCCEEDED


def find(engine: Engine, *ids: str, **more: Any) -> JobRecord:
    return engine.drive(engine.submit("track_features", trackIds=list(ids), userId="ada", **more).id)


def track(engine: Engine, one: str = MBID) -> Json:
    found = audio_features.find_track(engine.db, "ada", one)
    assert found is not None
    return found


def uploads(fake: FakeProviders) -> int:
    return sum(call.path == ANALYSIS for call in fake.reccobeats.calls)


# Whether


def test_unless_the_operator_says_so_nothing_is_ever_sent(
    fake: FakeProviders, db: Db, off: Settings, tmp_path: Path
) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: None
    fake.reccobeats.named = lambda _: {"title": "x", "artist": "y", "ms": 45_000, "isrc": ISRC}
    named = off.model_copy(update={"feature_providers": ("reccobeats", "local", SOURCE)})
    for settings in (off, named):
        with engine_on(db, settings) as engine:
            keep(engine, tmp_path / "one.flac")
            find(engine, MBID, track_id(1))
            find(engine, MBID, track_id(1), providers=["local", SOURCE], force=True)
            assert track(engine)["valence"] is None
            assert SOURCE not in str(track(engine))
    close_services()

    assert uploads(fake) == 0


def test_a_request_that_leaves_reccobeats_out_sends_nothing(
    engine: Engine, fake: FakeProviders, tmp_path: Path
) -> None:
    keep(engine, tmp_path / "one.flac")
    find(engine, MBID, providers=["local"])

    assert uploads(fake) == 0


def test_what_the_others_leave_open_is_heard(engine: Engine, fake: FakeProviders, tmp_path: Path) -> None:
    keep(engine, tmp_path / "one.flac")
    job = find(engine, MBID)

    found = track(engine)
    assert job.status is JobStatus.SUCCEEDED
    assert (found["valence"], found["sources"]["valence"]) == (HEARD["valence"], SOURCE)
    assert found["confidence"]["valence"] == 0.55
    assert found["sources"]["duration_ms"] == "local"
    assert found["duration_ms"] == pytest.approx(45_000, abs=50)


def test_ids_of_spotify_climb_the_whole_ladder(engine: Engine, fake: FakeProviders, tmp_path: Path) -> None:
    keep(engine, tmp_path / "one.flac")
    fake.spotify.known = lambda _: {"energy": 0.1}
    fake.reccobeats.known = lambda _: {"liveness": 0.9}
    fake.reccobeats.named = lambda _: {"title": "x", "artist": "y", "ms": 45_000, "isrc": ISRC}
    find(engine, track_id(1))

    sources = track(engine, track_id(1))["sources"]
    wanted = {"energy": "spotify", "liveness": "reccobeats", "duration_ms": "local", "valence": SOURCE}
    assert sources.items() >= wanted.items()
    assert [call.path for call in fake.reccobeats.calls] == ["audio-features", "track", ANALYSIS]


def test_who_lacks_nothing_that_can_be_heard_is_not_sent(engine: Engine, fake: FakeProviders, tmp_path: Path) -> None:
    keep(engine, tmp_path / "one.flac")
    fake.spotify.known = lambda _: {name: value for name, value in WHOLE.items() if name != "time_signature"}
    fake.reccobeats.known = lambda _: None
    fake.reccobeats.named = lambda _: {"title": "x", "artist": "y", "ms": 45_000, "isrc": ISRC}
    find(engine, track_id(1))

    assert track(engine, track_id(1))["localMatch"]["by"] == "isrc"
    assert track(engine, track_id(1))["time_signature"] is None
    assert uploads(fake) == 0


# What


@pytest.mark.parametrize(("seconds", "rate"), [(45.0, 48_000), (31.0, 192_000), (4.0, 8_000)])
def test_half_a_minute_is_sent_and_neither_the_whole_nor_its_name(
    engine: Engine, fake: FakeProviders, tmp_path: Path, seconds: float, rate: int
) -> None:
    keep(engine, tmp_path / "my secret.flac", seconds=seconds, rate=rate)
    find(engine, MBID)

    (sent,) = fake.reccobeats.uploads
    assert sent.seconds == pytest.approx(min(seconds, 30.0), abs=0.01)
    assert sent.seconds <= 30.0
    assert len(sent.content) < 2_700_000
    assert (sent.rate, sent.channels, sent.file_name) == (44_100, 1, "clip.wav")
    assert b"secret" not in sent.content


def test_a_file_is_sent_once_whoever_asks_and_however_often(
    engine: Engine, fake: FakeProviders, tmp_path: Path
) -> None:
    keep(engine, tmp_path / "one.flac")
    keep(engine, tmp_path / "copy.flac", OTHER)
    find(engine, MBID, OTHER)
    find(engine, MBID, force=True)
    engine.drive(engine.submit("track_features", trackIds=[OTHER], userId="bob").id)

    assert uploads(fake) == 1
    assert track(engine, MBID)["sources"]["valence"] == track(engine, OTHER)["sources"]["valence"] == SOURCE
    bobs = audio_features.find_track(engine.db, "bob", OTHER)
    assert bobs is not None
    assert bobs["valence"] == HEARD["valence"]


def test_jobs_at_the_same_time_send_a_file_once(engine: Engine, fake: FakeProviders, tmp_path: Path) -> None:
    keep(engine, tmp_path / "one.flac")
    fake.reccobeats.delay_seconds = 0.3  # so long that all have begun
    jobs = begin_together(engine, MBID, users=4)

    assert {engine.drive(job.id).status for job in jobs} == {JobStatus.SUCCEEDED}
    assert uploads(fake) == 1
    for n in range(4):
        found = audio_features.find_track(engine.db, f"user {n}", MBID)
        assert found is not None
        assert found["sources"]["valence"] == SOURCE


@pytest.mark.parametrize("change", ["touched", "gone", "moved out"])
def test_only_a_file_that_is_still_what_was_analysed_is_sent(
    engine: Engine, fake: FakeProviders, tmp_path: Path, change: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "one.flac"
    keep(engine, path)
    if change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "gone":
        path.unlink()
    else:
        path.symlink_to(path.rename(tmp_path_factory.mktemp("elsewhere") / "one.flac"))
    job = find(engine, MBID)

    reasons = {"touched": "has changed since", "gone": "does not exist", "moved out": "outside the folders"}
    assert job.status is JobStatus.SUCCEEDED
    assert f"{SOURCE}: " in track(engine)["reasons"]["valence"]
    assert reasons[change] in track(engine)["reasons"]["valence"]
    assert uploads(fake) == 0


# Trouble


@pytest.mark.parametrize(
    "trouble", [Reply.error(500), Reply.error(502), Reply(resets=True)], ids=["500", "502", "reset"]
)
def test_a_passing_trouble_is_passed_over(engine: Engine, fake: FakeProviders, tmp_path: Path, trouble: Reply) -> None:
    keep(engine, tmp_path / "one.flac")
    fake.reccobeats.script.extend([trouble, trouble])
    find(engine, MBID)

    assert uploads(fake) == 3
    assert track(engine)["sources"]["valence"] == SOURCE


@pytest.mark.parametrize(
    ("reply", "calls", "reason"),
    [
        (Reply.error(503), 3, "ReccoBeats answers 503"),
        (Reply(body=b"{not JSON"), 1, "not what its documentation says"),
        (Reply(body=b"[]"), 1, "not what its documentation says"),
        (Reply(body=b'{"valence": "high"}'), 1, "not what its documentation says"),
        (Reply.error(404), 1, "ReccoBeats answers 404"),
    ],
    ids=["503", "no JSON", "a list", "no values", "404"],
)
def test_a_failure_leaves_a_reason_and_is_tried_again_by_the_next_job(
    engine: Engine, fake: FakeProviders, tmp_path: Path, reply: Reply, calls: int, reason: str
) -> None:
    keep(engine, tmp_path / "one.flac")
    fake.reccobeats.script.extend([reply] * calls)
    job = find(engine, MBID)

    assert job.status is JobStatus.SUCCEEDED
    assert reason in track(engine)["reasons"]["valence"]
    assert track(engine)["duration_ms"] > 0
    assert uploads(fake) == calls

    find(engine, MBID)
    assert track(engine)["sources"]["valence"] == SOURCE


@pytest.mark.parametrize("status", [400, 413, 415])
def test_a_file_that_is_refused_is_not_sent_again(
    engine: Engine, fake: FakeProviders, tmp_path: Path, status: int
) -> None:
    keep(engine, tmp_path / "one.flac")
    fake.reccobeats.always = Reply.error(status)
    find(engine, MBID)
    find(engine, MBID)

    assert uploads(fake) == 1
    assert "reccobeats_upload: can't make anything of the file" in track(engine)["reasons"]["valence"]


def test_a_hang_is_given_up(db: Db, on: Settings, fake: FakeProviders, tmp_path: Path) -> None:
    fake.reccobeats.always = Reply(hangs=True)
    with engine_on(db, on.model_copy(update={"provider_timeout_seconds": 0.2})) as engine:
        keep(engine, tmp_path / "one.flac")
        job = find(engine, MBID)
        reason = track(engine)["reasons"]["valence"]
    close_services()

    assert job.status is JobStatus.SUCCEEDED
    assert "ReccoBeats can't be reached: ReadTimeout" in reason


def test_an_endpoint_that_is_down_is_left_alone_and_the_others_are_not(
    engine: Engine, fake: FakeProviders, tmp_path: Path
) -> None:
    ids = [f"{n:08x}-d987-4042-ae91-78d6a3267d69" for n in range(4)]
    for n, one in enumerate(ids):
        keep(engine, tmp_path / f"{n}.flac", one, seconds=2.0 + n)
    fake.reccobeats.always = Reply.error(500)
    job = find(engine, *ids)

    assert job.progress.succeeded == 4
    assert uploads(fake) == 4  # as many as open the breaker
    assert "reccobeats does not answer (analysis)" in track(engine, ids[3])["reasons"]["valence"]

    fake.reccobeats.always = None
    find(engine, track_id(1), providers=["reccobeats"])
    assert set(track(engine, track_id(1))["sources"].values()) == {"reccobeats"}


def test_a_rest_is_waited_for_without_a_worker(engine: Engine, fake: FakeProviders, tmp_path: Path) -> None:
    keep(engine, tmp_path / "one.flac")
    fake.reccobeats.script.append(Reply.error(429, headers={"Retry-After": "3600"}))
    job = engine.submit("track_features", trackIds=[MBID], userId="ada")
    engine.plan(job.id)
    engine.run()
    (chunk,) = engine.db["chunks"].find({"jobId": job.id})

    assert timedelta(seconds=3500) < chunk["visibleAt"] - now() <= timedelta(seconds=3600)
    assert track(engine)["sources"]["duration_ms"] == "local"  # of use already

    days_later(engine.settings.redis_url or "")
    engine.db["chunks"].update_one({"_id": chunk["_id"]}, {"$set": {"visibleAt": now()}})
    engine.db["jobs"].update_one({"_id": job.id, "resumesAt": {"$ne": None}}, {"$set": {"resumesAt": now()}})
    ended = engine.drive(job.id)
    assert [item.status for item in engine.items(ended.id)] == [ItemStatus.SUCCEEDED]
    assert track(engine)["sources"]["valence"] == SOURCE
    assert uploads(fake) == 2
