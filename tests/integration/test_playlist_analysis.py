"""A playlist goes in, by whichever endpoint Spotify lets it be read; figures, words and pictures come out."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest

from shared import lifecycle
from shared.cache import invalidate
from shared.clock import now
from shared.errors import InvalidRequest
from shared.items import ItemStatus
from shared.model import Db, Json
from shared.providers import connect_redis
from shared.settings import Settings
from shared.store import audio_features, jobs, provider_endpoints
from shared.store.job_record import JobRecord, JobStatus
from tests.api_server import serving
from tests.fake_accounts import Playlist, place
from tests.fake_providers import WHOLE, FakeProviders, Reply, track_id
from tests.integration.engine import Engine, engine_on
from tests.provider_stage import begin, connected, days_later, end, meeting, say_yes
from workers.providers.services import close_services

ID = "37i9dQZF1DXcBWIGoYBM5M"
NEW, OLD = f"playlists/{ID}/items", f"playlists/{ID}/tracks"


@pytest.fixture
def client(db: Db, chosen: Settings) -> Iterator[httpx.Client]:
    with serving(chosen) as one:
        yield one


@pytest.fixture
def engine(db: Db, chosen: Settings) -> Iterator[Engine]:
    with engine_on(db, chosen) as one:
        yield one
    close_services()


@pytest.fixture
def playlist(fake: FakeProviders) -> Playlist:
    """A playlist of 120 tracks by forty artists."""
    places = [place(track_id(n), artist=f"Artist {n % 40}", popularity=n % 100) for n in range(120)]
    fake.accounts.playlists[ID] = found = Playlist(name="Songs for $5 & more", places=places)
    return found


def analyse(engine: Engine, **request: Any) -> JobRecord:
    return engine.drive(engine.submit("playlist_analysis", **{"userId": "ada", **request}).id)


def summary(job: JobRecord) -> Json:
    assert job.summary is not None, job.error
    return job.summary


def paths(fake: FakeProviders) -> list[str]:
    return [call.path for call in fake.spotify.calls if call.path.startswith("playlists/")]


# Figures


def test_a_playlist_is_read_its_features_found_and_all_of_it_summed_up(
    engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    fake.spotify.known = lambda one: {**WHOLE, "tempo": 60.0 + int(one), "key": int(one) % 12, "energy": int(one) / 200}
    job = analyse(engine, playlist=f"https://open.spotify.com/playlist/{ID}?si=abc")

    assert job.status is JobStatus.SUCCEEDED
    assert (summary(job)["playlistId"], summary(job)["name"]) == (ID, playlist.name)
    found = summary(job)["analysis"]
    assert found["basic_stats"] == {
        "total_tracks": 120,
        "unique_tracks": 120,
        "tracks_with_features": 120,
        "total_duration_ms": 120 * 200_000,
        "tracks_with_duration": 120,
        "avg_popularity": round(float(np.mean([n % 100 for n in range(120)])), 1),
        "unique_artists": 40,
    }
    tempo = 60.0 + np.arange(120)
    assert found["audio_analysis"]["tempo"] == {
        "mean": round(float(tempo.mean()), 4),
        "median": round(float(np.median(tempo)), 4),
        "std": round(float(tempo.std()), 4),
        "min": 60.0,
        "max": 179.0,
        "range": 119.0,
    }
    assert (summary(job)["stale"], summary(job)["degraded"]) == (False, False)
    assert found["audio_analysis"].keys() >= {"energy", "valence", "danceability", "acousticness", "loudness"}
    assert found["key_distribution"] == dict.fromkeys(
        ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"), 10
    )
    assert (found["mode_distribution"], found["time_signature_distribution"]) == ({"major": 120}, {"4/4": 120})
    assert "Harmonically varied: 12 different keys." in found["insights"]
    assert any("60 to 179 BPM" in text for text in found["recommendations"])
    assert summary(job)["files"] == []
    assert engine.db[audio_features.COLLECTION].count_documents({}) == 120


def test_who_does_not_want_recommendations_gets_none(engine: Engine, playlist: Playlist) -> None:
    assert summary(analyse(engine, playlist=ID, recommendations=False))["analysis"]["recommendations"] == []


def test_a_list_of_tracks_is_analysed_without_any_playlist(engine: Engine, fake: FakeProviders) -> None:
    fake.reccobeats.named = lambda one: {"title": one, "artist": f"Artist {one}", "ms": 100_000, "isrc": "X"}
    job = analyse(engine, trackIds=[track_id(1), track_id(2), track_id(1)])

    basic = summary(job)["analysis"]["basic_stats"]
    assert (basic["total_tracks"], basic["unique_tracks"], basic["unique_artists"]) == (3, 2, 2)
    assert basic["total_duration_ms"] == 300_000
    assert basic["avg_popularity"] is None
    assert any("more than once: 1 of 3" in text for text in summary(job)["analysis"]["recommendations"])
    assert paths(fake) == []


def test_what_nobody_knows_is_left_out_of_the_figures_and_said(
    engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda one: WHOLE if int(one) < 20 else None
    job = analyse(engine, playlist=ID)

    assert job.status is JobStatus.PARTIAL
    found = summary(job)["analysis"]
    assert (found["basic_stats"]["total_tracks"], found["basic_stats"]["tracks_with_features"]) == (120, 20)
    assert found["coverage"]["tempo"] == 20
    assert any("Of 100 places nobody knows the sound" in text for text in found["recommendations"])


@pytest.fixture
def forgetful(db: Db, settings: Settings, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that asks again at once who did not know a track."""
    with (
        meeting(settings, fake, monkeypatch, {"BACKLINE_UNKNOWN_DAYS": "0.000001"}) as known,
        engine_on(db, known) as one,
    ):
        yield one
    close_services()


def test_a_retry_of_what_nobody_knew_analyses_all_again(
    forgetful: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda one: WHOLE if int(one) < 20 else None
    job = analyse(forgetful, playlist=ID, visualizations=True)
    former = {file["name"]: file["sha256"] for file in summary(job)["files"]}
    fake.spotify.known = fake.reccobeats.known = lambda _: WHOLE

    lifecycle.retry(forgetful.db, job.id)
    job = forgetful.drive(job.id)

    assert job.status is JobStatus.SUCCEEDED
    found = summary(job)
    assert found["analysis"]["basic_stats"]["tracks_with_features"] == 120
    pictures = {file["name"]: file["sha256"] for file in found["files"]}
    assert pictures.keys() == former.keys()
    assert pictures["distributions.svg"] != former["distributions.svg"]


def test_nothing_known_at_all_is_still_an_analysis(engine: Engine, fake: FakeProviders, playlist: Playlist) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda _: None
    found = summary(analyse(engine, playlist=ID, visualizations=True))

    assert found["analysis"]["audio_analysis"] == {}
    assert found["analysis"]["insights"] == []
    assert found["files"] == []


def test_places_that_hold_no_track_are_counted_and_passed_over(engine: Engine, fake: FakeProviders) -> None:
    places = [
        place(track_id(1)),
        None,
        {"item": None},
        place(track_id(2), type="episode"),
        {"item": {"id": None, "type": "track", "name": "a file of mine"}, "is_local": True},
        place(track_id(3)),
    ]
    fake.accounts.playlists[ID] = Playlist(name="Mixed", places=places)
    job = analyse(engine, playlist=ID)

    assert summary(job)["skipped"] == 4
    assert summary(job)["analysis"]["basic_stats"]["total_tracks"] == 2


# Pictures


def test_pictures_are_files_that_can_be_downloaded(client: httpx.Client, engine: Engine, playlist: Playlist) -> None:
    files = {one["name"]: one for one in summary(analyse(engine, playlist=ID, visualizations=True))["files"]}

    assert files.keys() == {"radar.svg", "radar.png", "distributions.svg", "distributions.png"}
    for name, one in files.items():
        answer = client.get(one["href"])
        assert answer.status_code == 200
        assert len(answer.content) == one["size"]
        if name.endswith(".svg"):
            assert answer.headers["content-type"] == "image/svg+xml"
            assert ElementTree.fromstring(answer.content).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert answer.headers["content-type"] == "image/png"
            width, height = _size_of_png(answer.content)
            assert width > 500
            assert height > 500


def _size_of_png(content: bytes) -> tuple[int, int]:
    stream = io.BytesIO(content)
    assert stream.read(8) == b"\x89PNG\r\n\x1a\n"
    assert stream.read(8)[4:] == b"IHDR"
    width, height = struct.unpack(">II", stream.read(8))
    return width, height


# Reading


def test_all_pages_are_read_in_order_and_only_once(engine: Engine, fake: FakeProviders, playlist: Playlist) -> None:
    analyse(engine, playlist=ID)
    offsets = [int(call.query["offset"]) for call in fake.spotify.calls if call.path == NEW]
    assert offsets == [0, 50, 100]

    analyse(engine, playlist=f"spotify:playlist:{ID}")
    assert paths(fake).count(NEW) == 3  # the cache knows it for five minutes


@pytest.mark.parametrize("status", [403, 404, 405, 410])
def test_the_old_endpoint_serves_where_the_new_one_is_not_there_and_that_is_remembered(
    engine: Engine, fake: FakeProviders, playlist: Playlist, status: int
) -> None:
    fake.accounts.closed_paths["items"] = status
    assert analyse(engine, playlist=ID).status is JobStatus.SUCCEEDED

    assert paths(fake) == [f"playlists/{ID}", NEW, OLD, OLD, OLD]
    known = {one.endpoint: one.is_open for one in provider_endpoints.find_all(engine.db)}
    assert (known["playlist"], known["playlist-items"], known["playlist-tracks"]) == (True, False, True)


def test_an_endpoint_that_is_closed_by_now_gives_way_to_the_other(
    engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    fake.accounts.closed_paths["items"] = 404
    analyse(engine, playlist=ID)
    fake.accounts.closed_paths = {"tracks": 410}
    _forget(engine, f"playlist:{ID}")

    assert analyse(engine, playlist=ID).status is JobStatus.SUCCEEDED
    assert paths(fake)[-1] == NEW


def _forget(engine: Engine, tag: str) -> None:
    redis = connect_redis(engine.settings)
    assert redis is not None
    with redis:
        assert invalidate(redis, tag) > 0


def test_a_playlist_that_is_not_there_closes_no_endpoint(engine: Engine, fake: FakeProviders) -> None:
    job = analyse(engine, playlist=ID)

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "playlist_unreadable"
    assert "404" in job.error.message
    closed = [one for one in provider_endpoints.find_all(engine.db) if not one.is_open]
    assert closed == []


@pytest.mark.parametrize(
    "text",
    [f"spotify:playlist:{ID}", f"spotify:user:ada:playlist:{ID}", f"https://open.spotify.com/intl-de/playlist/{ID}"],
)
def test_a_playlist_is_named_by_its_uri_or_its_address(engine: Engine, playlist: Playlist, text: str) -> None:
    assert summary(analyse(engine, playlist=text))["playlistId"] == ID


@pytest.mark.parametrize("text", ["not a playlist", f"https://evil.example/playlist/{ID}", "spotify:track:" + ID])
def test_what_is_no_playlist_is_refused_and_nobody_is_asked(engine: Engine, fake: FakeProviders, text: str) -> None:
    with pytest.raises(InvalidRequest, match="no playlist's id, URI or address"):
        analyse(engine, playlist=text)
    assert fake.spotify.calls == []


def test_a_private_playlist_is_read_as_its_owner(
    client: httpx.Client, engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    playlist.private_to = "ada"
    assert analyse(engine, playlist=ID).status is JobStatus.FAILED

    connected(client, fake)
    assert analyse(engine, playlist=ID).status is JobStatus.SUCCEEDED
    # What one user may see is no answer for another.
    assert analyse(engine, playlist=ID, userId="bob").status is JobStatus.FAILED


def test_who_took_the_right_back_is_told_to_connect_anew(
    client: httpx.Client, engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    playlist.private_to = "ada"
    connected(client, fake)
    fake.accounts.person("ada").is_revoked = True
    job = analyse(engine, playlist=ID)

    assert job.error is not None
    assert job.error.code == "reconnect"


def test_a_public_playlist_is_read_as_the_app_where_the_user_must_connect_anew(
    client: httpx.Client, engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    connected(client, fake)
    fake.accounts.person("ada").is_revoked = True
    assert analyse(engine, playlist=ID).status is JobStatus.SUCCEEDED


def test_a_spent_quota_parks_the_plan_and_what_was_read_is_not_read_again(
    engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    quota = Reply.error(429, "QUOTA_EXCEEDED", headers={"Retry-After": "3600"})
    fake.spotify.script.extend([None, None, quota])  # the heading, the first page, and no more
    job = engine.submit("playlist_analysis", userId="ada", playlist=ID)
    engine.plan(job.id)

    waiting = engine.job(job.id)
    assert waiting.status is JobStatus.WAITING_QUOTA
    assert waiting.resumes_at is not None
    assert waiting.resumes_at - now() > timedelta(minutes=50)
    days_later(engine.settings.redis_url or "")  # the cache knows nothing any more
    jobs.resume(engine.db, job.id)
    engine.drive(job.id)
    offsets = [int(call.query["offset"]) for call in fake.spotify.calls if call.path == NEW]
    assert offsets == [0, 50, 50, 100]


def test_spotify_down_gives_the_copy_that_is_there_marked_as_stale(
    engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    analyse(engine, playlist=ID)
    _age_all(engine)
    fake.spotify.always = Reply.error(503)
    job = analyse(engine, playlist=ID)

    assert job.status is JobStatus.SUCCEEDED
    assert summary(job)["stale"] is True
    assert summary(job)["analysis"]["basic_stats"]["total_tracks"] == 120


def _age_all(engine: Engine) -> None:
    """Let what is cached be behind its time."""
    redis = connect_redis(engine.settings)
    assert redis is not None
    with redis:
        for place_ in redis.scan_iter(match="backline:cache:library:*"):
            value = redis.get(place_)
            assert isinstance(value, bytes)
            redis.set(place_, b'{"fresh_until":1}' + value.partition(b"}")[2], keepttl=True)


def test_who_is_refused_gets_no_older_copy(
    client: httpx.Client, engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    playlist.private_to = "ada"
    connected(client, fake)
    assert analyse(engine, playlist=ID).status is JobStatus.SUCCEEDED
    _age_all(engine)
    fake.accounts.person("ada").is_revoked = True

    job = analyse(engine, playlist=ID)
    assert job.error is not None
    assert job.error.code == "reconnect"


def test_a_playlist_that_is_gone_is_not_told_from_memory(
    engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    analyse(engine, playlist=ID)
    _age_all(engine)
    fake.accounts.playlists.clear()

    assert analyse(engine, playlist=ID).status is JobStatus.FAILED


@pytest.mark.parametrize("user", ["ada", "a/b*"])
def test_another_account_of_the_same_user_sees_nothing_of_the_former(
    client: httpx.Client, engine: Engine, fake: FakeProviders, playlist: Playlist, user: str
) -> None:
    playlist.private_to = user
    del playlist.places[10:]  # so that the second's calls are enough for all
    connected(client, fake, user)
    assert analyse(engine, playlist=ID, userId=user).status is JobStatus.SUCCEEDED
    begun = begin(client, user)
    fake.accounts.signed_in = "somebody else"
    assert end(client, say_yes(begun)).status_code == 200

    assert analyse(engine, playlist=ID, userId=user).status is JobStatus.FAILED


def test_a_playlist_whose_name_nobody_tells_is_analysed_and_marked_as_degraded(
    engine: Engine, fake: FakeProviders, playlist: Playlist
) -> None:
    fake.spotify.script.extend([Reply.error(500)] * 3)  # the heading, and its other attempts
    job = analyse(engine, playlist=ID)

    assert job.status is JobStatus.SUCCEEDED
    assert (summary(job)["degraded"], summary(job)["name"]) == (True, None)
    assert summary(job)["analysis"]["basic_stats"]["total_tracks"] == 120
    assert "degraded" not in summary(job)["analysis"]


def test_tracks_whose_makers_nobody_tells_are_analysed_and_marked_as_degraded(
    engine: Engine, fake: FakeProviders
) -> None:
    fake.reccobeats.always = Reply.error(503)
    fake.spotify.script.extend([None, Reply.error(503), Reply.error(503), Reply.error(503)])  # features, no names
    broken = summary(analyse(engine, trackIds=[track_id(1)]))
    assert (broken["degraded"], broken["analysis"]["basic_stats"]["unique_artists"]) == (True, None)

    whole = summary(analyse(engine, trackIds=[track_id(1)]))
    assert (whole["degraded"], whole["analysis"]["basic_stats"]["unique_artists"]) == (False, 1)


def test_spotify_down_and_nothing_known_ends_the_job_with_a_reason(engine: Engine, fake: FakeProviders) -> None:
    fake.spotify.always = Reply.error(503)
    job = analyse(engine, playlist=ID)

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "playlist_unreadable"


@pytest.mark.parametrize(
    "body", [b"[]", b'{"items": 5}', b'{"items": [{"item": {"id": 7, "artists": 5}}], "next": 3}', b"{"]
)
def test_what_is_no_answer_hurts_nobody(engine: Engine, fake: FakeProviders, playlist: Playlist, body: bytes) -> None:
    fake.spotify.always = Reply(body=body)
    job = analyse(engine, playlist=ID, providers=["reccobeats"])
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code in ("playlist_unreadable", "no_items")


def test_without_credentials_no_playlist_is_read(
    settings: Settings, db: Db, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = {"BACKLINE_SPOTIFY_CLIENT_ID": None, "BACKLINE_SPOTIFY_CLIENT_SECRET": None}
    with meeting(settings, fake, monkeypatch, nothing) as known, engine_on(db, known) as engine:
        job = analyse(engine, playlist=ID)
    close_services()
    assert job.error is not None
    assert job.error.code == "provider_not_set_up"


def test_the_doors_take_either_a_playlist_or_tracks(client: httpx.Client) -> None:
    for body in ({}, {"playlist": ID, "trackIds": ["x"]}, {"playlist": "not a playlist"}):
        assert client.post("/api/jobs/playlist_analysis", json={"userId": "ada", **body}).status_code == 422
    assert client.post("/api/jobs/playlist_analysis", json={"userId": "ada", "playlist": ID}).status_code == 202


def test_a_track_that_fails_is_an_item_that_says_why(engine: Engine, fake: FakeProviders, playlist: Playlist) -> None:
    fake.spotify.known = fake.reccobeats.known = lambda one: None if int(one) == 5 else WHOLE
    items = engine.items(analyse(engine, playlist=ID).id)

    assert len(items) == 121  # the step that looks at all of them is one, too
    (failed,) = [item for item in items if item.status is ItemStatus.FAILED]
    assert failed.item["trackId"] == track_id(5)
