"""Clusters as a job: numbers of groups tried beside each other, then the best division stored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared import lifecycle
from shared.clock import now
from shared.items import ItemStatus
from shared.jobs.clusters import TRIED_MAX, Request
from shared.model import Db
from shared.settings import Settings
from shared.store import clusters
from shared.store.clusters import Cluster
from shared.store.indexes import IndexName
from shared.store.job_record import JobRecord, JobStatus
from tests.integration.engine import Engine, engine_on
from tests.taste_data import CATALOGUE, GENRES, TRACKS, made_series, made_tracks, publish_index
from workers.taste import cluster_job

SERIES = made_series(600)


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as one:
        yield one


@pytest.fixture
def series(db: Db, settings: Settings) -> str:
    return publish_index(db, settings, "catalogue", SERIES, schema=CATALOGUE)


def divide(engine: Engine, **request: Any) -> JobRecord:
    return engine.drive(engine.submit("clusters", **request).id)


def stored(db: Db, index: IndexName = IndexName.CATALOGUE) -> list[Cluster]:
    return clusters.newest(db, index)


def test_the_planted_genres_are_found_and_named(engine: Engine, series: str) -> None:
    ended = divide(engine, kMin=9, kMax=14)

    assert ended.status is JobStatus.SUCCEEDED
    found = stored(engine.db)
    assert len(found) == len(GENRES)
    assert {one.tags[0] for one in found} == set(GENRES)
    assert [one.number for one in found] == list(range(1, 13))
    assert sum(one.size for one in found) == len(SERIES)
    assert [one.size for one in found] == sorted((one.size for one in found), reverse=True)
    assert all(one.snapshot == series and 0.3 < one.cohesion <= 1 and one.titles[0] for one in found)
    assert ended.summary is not None
    assert ended.summary["k"] == 12
    assert ended.summary["labels"] == [one.label for one in found]


def test_every_entry_is_a_member_of_one_cluster(engine: Engine, series: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MEMBERS_PER_DOCUMENT", 20)
    divide(engine, k=12)

    found = stored(engine.db)
    members: list[str] = []
    for one in found:
        parts = [clusters.members(engine.db, one, part=part) for part in range(one.size // 20 + 2)]
        assert sum(map(len, parts)) == one.size
        genre = int(one.tags[0].removeprefix("genre "))
        assert {int(each.removeprefix("mal-")) % 12 for part in parts for each in part} == {genre}
        members += [each for part in parts for each in part]
        assert clusters.number_of(engine.db, IndexName.CATALOGUE, one.job_id, one.representatives[0]) == one.number
    assert sorted(members) == sorted(entry.id for entry in SERIES)
    assert clusters.number_of(engine.db, IndexName.CATALOGUE, found[0].job_id, "no such one") is None


def test_each_number_is_an_item_and_the_storing_comes_last(engine: Engine, series: str) -> None:
    ended = divide(engine, kMin=3, kMax=6)

    items = engine.items(ended.id)
    assert [item.item.get("k") for item in items] == [3, 4, 5, 6, None]
    results = [item.result for item in items if item.result is not None]
    assert [one["isStored"] for one in results] == [False] * 4 + [True]
    assert results[-1]["silhouette"] == max(one["silhouette"] for one in results)


def test_a_wide_range_is_tried_sparsely() -> None:
    tried = Request(k_min=2, k_max=200).tried

    assert len(tried) <= TRIED_MAX
    assert (tried[0], tried[-1]) == (2, 200)
    assert tried == sorted(set(tried))


def test_tracks_are_divided_by_sound(engine: Engine, settings: Settings) -> None:
    publish_index(engine.db, settings, "tracks", made_tracks(400, groups=5), schema=TRACKS)

    divide(engine, index="tracks", kMin=2, kMax=8)

    found = stored(engine.db, IndexName.TRACKS)
    assert len(found) == 5
    assert {one.space for one in found} == {"audio"}
    assert all("tempo" in one.features for one in found)


def test_a_newer_division_replaces_the_older(engine: Engine, series: str) -> None:
    divide(engine, k=4)
    second = divide(engine, k=3)

    assert {one.job_id for one in stored(engine.db)} == {second.id}
    assert engine.db["clusters"].count_documents({}) == 3
    assert {one["jobId"] for one in engine.db["cluster_members"].find()} == {second.id}


def test_as_many_groups_as_entries_are_not_tried(engine: Engine, settings: Settings) -> None:
    publish_index(engine.db, settings, "catalogue", SERIES[:5], schema=CATALOGUE)

    ended = divide(engine)

    assert ended.status is JobStatus.SUCCEEDED
    assert [item.item.get("k") for item in engine.items(ended.id)] == [2, 3, 4, None]
    assert 2 <= len(stored(engine.db)) <= 4


@pytest.mark.parametrize("request_", [{"k": 5}, {"kMin": 5, "kMax": 9}])
def test_too_many_groups_are_refused(engine: Engine, settings: Settings, request_: Any) -> None:
    publish_index(engine.db, settings, "catalogue", SERIES[:5], schema=CATALOGUE)

    ended = divide(engine, **request_)

    assert ended.status is JobStatus.FAILED
    assert [item.error and item.error.code for item in engine.items(ended.id)] == ["too_few_entries", "nothing_tried"]


@pytest.mark.parametrize(
    ("request_", "codes"),
    [({"k": 2}, {"index_missing"}), ({"index": "tracks", "k": 2}, {"index_missing"})],
)
def test_without_an_index_it_says_what_to_do(engine: Engine, request_: Any, codes: set[str]) -> None:
    ended = divide(engine, **request_)

    assert ended.status is JobStatus.FAILED
    assert {item.error.code for item in engine.items(ended.id) if item.error is not None} == codes


def test_a_space_that_is_not_there_is_named(engine: Engine, series: str) -> None:
    items = engine.items(divide(engine, k=2, space="audio").id)

    assert items[0].error is not None
    assert items[0].error.code == "no_such_space"


def test_a_retry_takes_what_was_found_before(engine: Engine, series: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cluster_job, "name_group", lambda *_: 1 / 0)
        ended = divide(engine, kMin=11, kMax=13)
    assert ended.status is JobStatus.PARTIAL
    assert stored(engine.db) == []

    lifecycle.retry(engine.db, ended.id)

    assert engine.drive(ended.id).status is JobStatus.SUCCEEDED
    assert len(stored(engine.db)) == 12
    assert [item.status for item in engine.items(ended.id)] == [ItemStatus.SUCCEEDED] * 4


def test_a_reader_never_sees_half_a_division(engine: Engine, series: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = divide(engine, k=4)
    seen = []
    original = clusters.delete_older

    def looked(*arguments: Any) -> None:
        seen.append((len(stored(engine.db)), stored(engine.db)[0].job_id))
        original(*arguments)

    monkeypatch.setattr(clusters, "delete_older", looked)
    second = divide(engine, k=6)

    assert seen == [(6, second.id)]
    assert first.id != second.id
    assert stored(engine.db)[0].created_at - now() < timedelta(minutes=1)
