"""Four worker processes ask others for ten thousand tracks: within the budget, and with nobody waiting for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

import pytest

from shared.items import ItemStatus
from shared.model import Db
from shared.store import audio_features, chunks, listening_history
from shared.store.database import connect, ensure_indexes
from shared.store.job_record import JobStatus
from tests.acceptance.conftest import Client
from tests.api_server import serving
from tests.environment import environment_of
from tests.fake_accounts import Playlist, place
from tests.fake_providers import FEATURES, WHOLE, FakeProviders, Reply, fake_providers, track_id
from tests.machine import Machine
from tests.provider_stage import connected, days_later

IDS = 10_000
CALLS, WINDOW_SECONDS = 100, 10.0
"""A minute of the true budget, six times as fast."""
BREAKER_SECONDS = 1.0
FAILURES = 5
PROCESSES = 4
PLAYLIST = "37i9dQZF1DXcBWIGoYBM5M"
START = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviders]:
    with fake_providers() as both:
        yield both


@pytest.fixture(scope="module")
def asking_machine(tmp_path_factory: pytest.TempPathFactory, fake: FakeProviders) -> Iterator[Machine]:
    budget = f"{CALLS} per {WINDOW_SECONDS:g} seconds"
    environment = {
        **fake.variables,
        "BACKLINE_JOB_MODULES": "tests.kinds",
        "BACKLINE_REAP_SECONDS": "0.5",
        "BACKLINE_SPOTIFY_BUDGET": budget,
        "BACKLINE_RECCOBEATS_BUDGET": budget,
        "BACKLINE_SPOTIFY_BATCH_SIZE": "40",
        "BACKLINE_BREAKER_FAILURES": str(FAILURES),
        "BACKLINE_BREAKER_SECONDS": str(BREAKER_SECONDS),
    }
    machine = Machine(tmp_path_factory.mktemp("asking"), environment, processes=PROCESSES)
    machine.servers.start()
    yield machine
    machine.stop()


@pytest.fixture
def asking(asking_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    with environment_of(monkeypatch, asking_machine.settings) as settings:
        db = connect(settings)
        asking_machine.heal()
        ensure_indexes(db)
        client = Client(machine=asking_machine, db=db, settings=settings)
        for _ in range(PROCESSES):  # until the workers have started
            client.wait(client.submit("noop", items=1).id)
        yield client
        db.client.close()


class Holds:
    """How long each claim of a chunk of one job has lasted, as seen from outside."""

    def __init__(self, db: Db, job_id: str) -> None:
        self._db, self._job_id = db, job_id
        self._since: dict[str, float] = {}
        self.longest = 0.0

    def look(self) -> None:
        held = self._db[chunks.COLLECTION].find({"jobId": self._job_id, "owner": {"$ne": None}}, {"owner": 1})
        moment = time.monotonic()
        self._since = {one["owner"]: self._since.get(one["owner"], moment) for one in held}
        self.longest = max([self.longest, *(moment - since for since in self._since.values())])


def test_ten_thousand_ids_keep_to_the_budget_and_hold_nobody_up(asking: Client, fake: FakeProviders) -> None:
    # Spotify knows every other track, ReccoBeats four of five.
    fake.spotify.known = lambda one: WHOLE if int(one) % 2 else None
    fake.reccobeats.known = lambda one: FEATURES if int(one) % 5 else None
    job = asking.submit("track_features", userId="ada", trackIds=[track_id(n) for n in range(IDS)])
    holds = Holds(asking.db, job.id)
    others: list[float] = []
    deadline = time.monotonic() + 120

    while not asking.job(job.id).status.is_final and time.monotonic() < deadline:
        holds.look()
        started = time.monotonic()
        asking.wait(asking.submit("noop", items=1).id)
        others.append(time.monotonic() - started)

    ended = asking.wait(job.id, seconds=1)
    assert ended.status is JobStatus.PARTIAL
    assert ended.progress.succeeded == IDS * 9 // 10
    items = asking.items(job.id)
    assert len(items) == IDS
    nameless = [item for item in items if item.status is ItemStatus.FAILED]
    assert len(nameless) == IDS // 10
    assert all(item.error is not None and item.error.code == "unknown_track" for item in nameless)
    assert asking.db[audio_features.COLLECTION].count_documents({"userId": "ada"}) == IDS * 9 // 10

    for side in (fake.spotify, fake.reccobeats):
        assert len(side.calls) > CALLS  # so that somebody had to wait
        assert side.most_within(WINDOW_SECONDS) <= CALLS
    asked = [one for call in fake.spotify.calls for one in call.ids]
    assert len(asked) == len(set(asked)) == IDS  # nobody was asked twice
    # Whoever slept until the window had room would hold a chunk, and its process, for seconds.
    assert holds.longest < WINDOW_SECONDS / 2
    assert median(others) < WINDOW_SECONDS / 4


def test_a_provider_that_is_down_is_asked_once_an_interval(asking: Client, fake: FakeProviders) -> None:
    days_later(asking.machine.servers.redis_url)
    for side in (fake.spotify, fake.reccobeats):
        side.calls.clear()
    fake.spotify.always = Reply.error(503)
    fake.reccobeats.known = lambda _: FEATURES
    started = time.monotonic()
    job = asking.submit("track_features", userId="bob", trackIds=[track_id(IDS + n) for n in range(5_000)])

    ended = asking.wait(job.id)

    seconds = time.monotonic() - started
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.progress.succeeded == 5_000
    track = audio_features.find_track(asking.db, "bob", track_id(IDS + 4_999))
    assert track is not None
    assert set(track["sources"].values()) == {"reccobeats"}
    # Those that were on their way when it opened arrive, too: one of each other process at most.
    first = [call for call in fake.spotify.calls if call.at - fake.spotify.calls[0].at < BREAKER_SECONDS]
    probes = fake.spotify.calls[len(first) :]
    assert FAILURES <= len(first) <= FAILURES + PROCESSES - 1
    assert len(probes) <= seconds / BREAKER_SECONDS
    assert all(later.at - earlier.at >= BREAKER_SECONDS for earlier, later in pairwise(probes))
    assert seconds > 2 * BREAKER_SECONDS


def test_many_workers_refresh_a_users_token_once_and_store_each_play_once(asking: Client, fake: FakeProviders) -> None:
    days_later(asking.machine.servers.redis_url)
    fake.spotify.always = None
    with serving(asking.settings) as client:
        connected(client, fake)
    fake.accounts.person("ada").plays += [(START + timedelta(minutes=3 * n), track_id(n)) for n in range(50)]
    fake.accounts.expire()

    jobs = [asking.submit("history_sync", userId="ada").id for _ in range(12)]
    ended = [asking.wait(job) for job in jobs]

    assert {job.status for job in ended} == {JobStatus.SUCCEEDED}
    assert fake.accounts.refreshes == 1
    assert asking.db[listening_history.COLLECTION].count_documents({"userId": "ada"}) == 50
    assert sum(item.result["plays"] for job in jobs for item in asking.items(job) if item.result) == 50


def test_a_herd_makes_one_call(asking: Client, fake: FakeProviders) -> None:
    days_later(asking.machine.servers.redis_url)
    fake.spotify.always, fake.spotify.known = None, lambda _: WHOLE
    fake.spotify.calls.clear()
    fake.spotify.delay_seconds = 0.5
    ids = [track_id(2 * IDS + n) for n in range(40)]
    jobs = [asking.submit("track_features", userId=f"user {n}", trackIds=ids).id for n in range(12)]
    ended = [asking.wait(job) for job in jobs]
    fake.spotify.delay_seconds = 0.0

    assert {job.status for job in ended} == {JobStatus.SUCCEEDED}
    assert [len(call.ids) for call in fake.spotify.calls] == [40]
    assert asking.db[audio_features.COLLECTION].count_documents({"trackId": {"$in": ids}}) == 12 * 40


def test_a_playlist_goes_through_four_workers(asking: Client, fake: FakeProviders) -> None:
    days_later(asking.machine.servers.redis_url)
    fake.spotify.always = None
    fake.spotify.known = lambda one: {**WHOLE, "tempo": 60.0 + int(one) % 100}
    first = 3 * IDS
    fake.accounts.playlists[PLAYLIST] = Playlist(name="Long", places=[place(track_id(first + n)) for n in range(1_000)])

    ended = asking.wait(asking.submit("playlist_analysis", userId="eve", playlist=PLAYLIST).id, seconds=90)

    assert ended.status is JobStatus.SUCCEEDED, ended.error
    assert ended.progress.succeeded == 1_001
    assert ended.summary is not None
    found = ended.summary["analysis"]
    assert found["basic_stats"]["tracks_with_features"] == 1_000
    assert found["audio_analysis"]["tempo"]["mean"] == 109.5
    assert asking.db[audio_features.COLLECTION].count_documents({"userId": "eve"}) == 1_000
