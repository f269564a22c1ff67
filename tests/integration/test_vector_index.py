"""The index is built from what is stored: only what is new is embedded, and what is published is whole."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from datetime import timedelta

import numpy as np
import pytest

from shared import lifecycle
from shared.clock import now
from shared.items import ItemStatus
from shared.jobs import get_kind
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import audio_features, catalogue, contents, embeddings, indexes
from shared.store.catalogue import CatalogueEntry
from shared.store.contents import Content, Features, Provenance
from shared.store.database import library
from shared.store.indexes import IndexPointer
from shared.store.job_record import JobRecord, JobStatus
from tests.integration.engine import Engine, engine_on
from workers.indexing import building
from workers.indexing.models import text_embedder
from workers.vectors.collections import AUDIO_DIMENSIONS, catalogue_schema
from workers.vectors.embedders.minilm import DIMENSIONS
from workers.vectors.filters import Between, HasAny
from workers.vectors.query import Query
from workers.vectors.shelf import Shelf
from workers.vectors.snapshot import Snapshot
from workers.vectors.targets import Target

OWNER = "local"


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as one:
        yield one


def entry(number: int, title: str, **changes: object) -> CatalogueEntry:
    moment = now()
    values = {
        "id": f"mal-{number}",
        "catalogue": "anime",
        "form": "anime",
        "title": title,
        "type": "TV",
        "year": 2000 + number % 20,
        "tags": ("space", "war") if number % 2 else ("cooking",),
        "created_at": moment,
        "updated_at": moment,
        **changes,
    }
    return CatalogueEntry.model_validate(values)


def store(db: Db, entries: Sequence[CatalogueEntry]) -> None:
    for one in entries:
        db[catalogue.COLLECTION].replace_one({"_id": one.id}, one.to_document(), upsert=True)


def build(engine: Engine, **request: object) -> JobRecord:
    return engine.drive(engine.submit("vector_index", **request).id)


def pointer_of(engine: Engine, name: str = "catalogue") -> IndexPointer:
    found = indexes.find(engine.db, OWNER, name)
    assert found is not None
    return found


def opened(engine: Engine, name: str = "catalogue") -> Snapshot:
    shelf = Shelf(indexes.folder(engine.settings.index_dir, OWNER, name))
    return shelf.open(pointer_of(engine, name).snapshot)


def contents_of(snapshot: Snapshot) -> dict[str, tuple[object, object, object]]:
    """Return all that a snapshot holds, in a form that can be compared."""
    entries = (snapshot.entry(one) for one in snapshot.ids())
    return {
        one.id: (
            {name: list(texts) for name, texts in one.texts.items()},
            one.attributes,
            {name: np.round(vector, 5).tolist() for name, vector in one.vectors.items()},
        )
        for one in entries
    }


TITLES = ("Star Voyagers", "The Kitchen of Dreams", "Iron Giants", "Noodle Days", "Void Fleet", "Sweet Kitchen")


def test_what_is_stored_is_found_by_meaning_and_by_words(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])

    job = build(engine)

    assert job.status is JobStatus.SUCCEEDED
    assert job.summary is not None
    assert (job.summary["entries"], job.summary["embedded"]) == (len(TITLES), len(TITLES))
    with opened(engine) as snapshot:
        meant = Query(text=None, near={"text": text_embedder(engine.settings).embed_query("a cook prepares food")}, k=2)
        assert {hit.id for hit in snapshot.search(meant)} <= {"mal-0", "mal-2", "mal-4"}
        assert [hit.id for hit in snapshot.search(Query(text="noodel", k=1))] == ["mal-3"]
        late = Query(text="kitchen", conditions=[Between("year", 2004), HasAny("tags", ["space"])])
        assert [hit.id for hit in snapshot.search(late)] == ["mal-5"]


def test_nothing_is_embedded_twice_whoever_asks(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    build(engine)

    again = build(engine, rebuild=True)

    statuses = [item.status for item in engine.items(again.id)]
    assert statuses.count(ItemStatus.CACHED) == len(TITLES)
    assert again.summary is not None
    assert again.summary["embedded"] == 0
    assert engine.db[embeddings.COLLECTION].count_documents({}) == len(TITLES)


def test_an_update_writes_what_has_changed_and_equals_a_full_build(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    build(engine)
    later = now() + timedelta(seconds=1)
    changed = entry(1, "The Kitchen of Nightmares", updated_at=later)
    gone = entry(2, TITLES[2], updated_at=later, removed_at=later)
    store(engine.db, [changed, gone, entry(77, "Quite New")])

    update = build(engine)

    (built,) = [item.result for item in engine.items(update.id) if item.result and item.result["snapshot"]]
    assert (built["put"], built["removed"]) == (2, 1)
    with opened(engine) as snapshot:
        updated = contents_of(snapshot)
    build(engine, rebuild=True)
    with opened(engine) as snapshot:
        assert contents_of(snapshot) == updated
    assert set(updated) == {"mal-0", "mal-1", "mal-3", "mal-4", "mal-5", "mal-77"}


def test_an_update_without_changes_publishes_nothing(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    build(engine)
    before = pointer_of(engine)

    job = build(engine)

    assert job.status is JobStatus.SUCCEEDED
    after = pointer_of(engine)
    assert (after.snapshot, after.revision) == (before.snapshot, before.revision)
    assert after.watermark > before.watermark


def test_entries_that_others_deleted_or_put_in_without_a_trace_are_noticed(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    build(engine)
    engine.db[catalogue.COLLECTION].delete_many({"_id": {"$in": ["mal-0", "mal-1"]}})
    long_ago = now() - timedelta(days=30)
    store(engine.db, [entry(500, "From Elsewhere", updated_at=long_ago)])

    assert build(engine).status is JobStatus.SUCCEEDED

    with opened(engine) as snapshot:
        assert set(snapshot.ids()) == {"mal-2", "mal-3", "mal-4", "mal-5", "mal-500"}
        assert "text" in snapshot.entry("mal-500").vectors


def test_as_many_entries_in_place_of_others_are_noticed(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    build(engine)
    engine.db[catalogue.COLLECTION].delete_one({"_id": "mal-0"})
    store(engine.db, [entry(500, "From Elsewhere", updated_at=now() - timedelta(days=30))])
    store(engine.db, [entry(77, "Quite New")])

    build(engine)

    with opened(engine) as snapshot:
        assert set(snapshot.ids()) == {"mal-1", "mal-2", "mal-3", "mal-4", "mal-5", "mal-77", "mal-500"}


def test_many_entries_that_came_without_a_trace_are_searched_by_words_until_the_next_full_build(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "LATE_MAX", 0)
    store(engine.db, [entry(0, TITLES[0])])
    build(engine)
    store(engine.db, [entry(500, "From Elsewhere", updated_at=now() - timedelta(days=30))])

    job = build(engine)

    (error,) = [item.error for item in engine.items(job.id) if item.error]
    assert (job.status, error.code) == (JobStatus.PARTIAL, "incomplete")
    with opened(engine) as snapshot:
        assert [hit.id for hit in snapshot.search(Query(text="elsewhere"))] == ["mal-500"]
    assert build(engine, rebuild=True).status is JobStatus.SUCCEEDED
    with opened(engine) as snapshot:
        assert "text" in snapshot.entry("mal-500").vectors


def test_an_empty_catalogue_has_an_empty_index(engine: Engine) -> None:
    job = build(engine)

    assert job.status is JobStatus.SUCCEEDED
    with opened(engine) as snapshot:
        assert len(snapshot) == 0
        assert snapshot.search(Query(text="anything")) == []


def test_the_snapshot_before_is_kept_for_a_rollback_and_older_ones_go(engine: Engine) -> None:
    for number in range(4):
        store(engine.db, [entry(number, TITLES[number])])
        build(engine)
    pointer = pointer_of(engine)

    shelf = Shelf(indexes.folder(engine.settings.index_dir, OWNER, "catalogue"))
    assert set(shelf.names()) == {pointer.snapshot, pointer.previous}

    indexes.roll_back(engine.db, OWNER, "catalogue")
    with opened(engine) as snapshot:
        assert len(snapshot) == 3
    # What was undone comes again with the next update, which begins from what is current.
    build(engine)
    with opened(engine) as snapshot:
        assert len(snapshot) == 4


def test_a_damaged_snapshot_is_built_anew_from_what_is_stored(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    build(engine)
    folder = indexes.folder(engine.settings.index_dir, OWNER, "catalogue") / pointer_of(engine).snapshot
    (folder / "texts.sqlite").write_bytes(b"not a database")

    job = build(engine)

    assert job.status is JobStatus.SUCCEEDED
    with opened(engine) as snapshot:
        assert len(snapshot) == len(TITLES)


def test_an_index_of_another_model_is_not_mixed_with_this_ones(engine: Engine) -> None:
    store(engine.db, [entry(0, TITLES[0])])
    build(engine)
    engine.db[indexes.COLLECTION].update_one({}, {"$set": {"embedder": "another/1"}})
    store(engine.db, [entry(1, TITLES[1])])

    refused = build(engine)

    (error,) = [item.error for item in engine.items(refused.id) if item.error]
    assert error.code == "embedder_changed"
    assert "rebuild" in error.message
    assert build(engine, rebuild=True).status is JobStatus.SUCCEEDED


def test_two_builds_of_one_index_come_one_after_the_other(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    job = engine.submit("vector_index")
    shelf = Shelf(indexes.folder(engine.settings.index_dir, OWNER, "catalogue"))
    with shelf.building(catalogue_schema(DIMENSIONS)):
        engine.plan(job.id)
        for _ in range(3):
            engine.run()
            engine.plan(job.id)
        assert engine.job(job.id).status is JobStatus.RUNNING
        assert engine.live(job.id) == 1

    assert engine.drive(job.id).status is JobStatus.SUCCEEDED


def test_a_build_that_is_overtaken_begins_again_from_what_is_current(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    swings = iter((False,))
    swing = indexes.swing
    monkeypatch.setattr(indexes, "swing", lambda db, pointer: next(swings, None) is None and swing(db, pointer))

    job = build(engine)

    assert job.status is JobStatus.SUCCEEDED
    with opened(engine) as snapshot:
        assert len(snapshot) == len(TITLES)


def test_a_cancelled_build_publishes_nothing(engine: Engine) -> None:
    store(engine.db, [entry(number, title) for number, title in enumerate(TITLES)])
    job = engine.submit("vector_index")
    engine.plan(job.id)
    while engine.live(job.id):
        engine.run()
    engine.plan(job.id)
    lifecycle.cancel(engine.db, job.id)

    assert engine.drive(job.id).status is JobStatus.CANCELLED
    assert indexes.find(engine.db, OWNER, "catalogue") is None


# Tracks


def analyse(db: Db, user_id: str, track_id: str, vector: Sequence[float] | None, **features: float) -> None:
    """Store a track as an analysis does."""
    provenance = Provenance(algorithm="a", version="1", effort="full", decoder="d", window_seconds=1.0)
    content = Content(
        id=f"{track_id}:1-full",
        content_hash=track_id,
        features=Features.model_validate(features),
        tags={"guitar": 0.6, "unsure": 0.01},
        provenance=provenance,
    )
    contents.save(db, content, {} if vector is None else {"vector": vector})
    audio_features.upsert(db, user_id, [(track_id, f"/music/{track_id}.flac", content)])


def sound(seed: int) -> list[float]:
    values = np.random.default_rng(seed).standard_normal(AUDIO_DIMENSIONS)
    return [float(value) for value in values / np.linalg.norm(values)]


def test_tracks_are_found_by_their_sound_their_features_and_what_is_said_about_them(engine: Engine) -> None:
    for number in range(20):
        analyse(engine.db, "ada", f"t{number}", sound(number), tempo=60.0 + 5 * number, energy=0.5, key=number % 12)
    analyse(engine.db, "bob", "t1", sound(1), tempo=65.0)
    analyse(engine.db, "ada", "silent", None)
    said = entry(3, "Morning Song", id="track-t3", catalogue="tracks", form="track", track_id="t3", artists=("Ada",))
    store(engine.db, [said])

    job = build(engine, index="tracks")

    assert job.status is JobStatus.SUCCEEDED
    with opened(engine, "tracks") as snapshot:
        assert len(snapshot) == 22
        near = snapshot.originals(["ada\nt1"], "audio")[0]
        found = snapshot.search(Query(near={"audio": near}, conditions=[HasAny("user", ["ada"])], k=1))
        assert [hit.id for hit in found] == ["ada\nt1"]
        assert [hit.id for hit in snapshot.search(Query(text="morning sogn", k=1))] == ["ada\nt3"]
        fast = [hit.id for hit in snapshot.search(Query(text="guitar", conditions=[Between("tempo", 150)], k=30))]
        assert sorted(fast) == ["ada\nt18", "ada\nt19"]
        assert snapshot.search(Query(text="unsure")) == []
        assert "audio" not in snapshot.entry("ada\nsilent").vectors


def test_what_is_said_anew_about_a_track_reaches_its_index(engine: Engine) -> None:
    analyse(engine.db, "ada", "t1", sound(1))
    build(engine, index="tracks")
    engine.db[audio_features.COLLECTION].update_many({}, {"$set": {"updatedAt": now() - timedelta(days=1)}})
    store(engine.db, [entry(1, "Evening Song", id="track-t1", form="track", track_id="t1")])

    build(engine, index="tracks")

    with opened(engine, "tracks") as snapshot:
        assert [hit.id for hit in snapshot.search(Query(text="evening"))] == ["ada\nt1"]


def test_a_track_that_is_new_and_of_which_something_new_is_said_is_written_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "BATCH", 1)
    analyse(engine.db, "ada", "t1", sound(1))
    build(engine, index="tracks")
    analyse(engine.db, "ada", "t2", sound(2))
    store(engine.db, [entry(2, "Evening Song", id="track-t2", form="track", track_id="t2")])

    job = build(engine, index="tracks")

    (built,) = [item.result for item in engine.items(job.id) if item.result and item.result["snapshot"]]
    assert built["put"] == 1
    with opened(engine, "tracks") as snapshot:
        assert len(snapshot) == 2


def test_what_an_import_says_anew_about_tracks_reaches_their_index_behind_that_of_the_catalogue(engine: Engine) -> None:
    analyse(engine.db, "ada", "t1", sound(1))
    build(engine, index="tracks")
    store(engine.db, [entry(1, "A Film")])
    assert build(engine).followed_by is None  # nothing is said about tracks
    store(engine.db, [entry(2, "Evening Song", id="track-t1", form="track", track_id="t1")])

    next_id = build(engine).followed_by

    assert next_id is not None
    assert engine.drive(next_id).followed_by is None
    with opened(engine, "tracks") as snapshot:
        assert [hit.id for hit in snapshot.search(Query(text="evening"))] == ["ada\nt1"]
    assert build(engine).followed_by is None


def test_documents_that_others_wrote_do_not_keep_the_rest_from_the_index(engine: Engine) -> None:
    analyse(engine.db, "ada", "good", sound(1), tempo=100.0)
    odd: list[Json] = [
        {"tempo": "fast", "energy": float("nan"), "tags": ["a"], "path": 7},
        {"tags": {"rock": "very", "jazz": None, "folk": 0.8}},
        {"contentHash": "abc", "provenance": "a client"},
        {"tempo": 99.0, "sources": {"tempo": ["spotify"]}},
    ]
    engine.db[audio_features.COLLECTION].insert_many(
        [{"userId": "ada", "trackId": f"odd{number}", **one} for number, one in enumerate(odd)]
    )
    nobodys: list[Json] = [
        {"userId": 5, "trackId": "a"},
        {"userId": "ada", "trackId": 5},
        {"userId": "ada", "trackId": "x" * 999},
    ]
    engine.db[audio_features.COLLECTION].insert_many(nobodys)

    for _ in range(2):
        job = build(engine, index="tracks")

        assert job.status is JobStatus.SUCCEEDED
        with opened(engine, "tracks") as snapshot:
            assert set(snapshot.ids()) == {"ada\ngood", *(f"ada\nodd{number}" for number in range(4))}
    built = engine.items(job.id)[-1].result
    assert built is not None
    assert built["leftOut"] == 1


def test_a_clock_that_went_ahead_hides_no_change_for_ever(engine: Engine) -> None:
    store(engine.db, [entry(1, "Before"), entry(2, "Stays")])
    build(engine)
    assert indexes.advance(engine.db, pointer_of(engine), now() + timedelta(days=400))
    store(engine.db, [entry(1, "After", updated_at=now())])

    job = build(engine)

    assert job.status is JobStatus.SUCCEEDED
    with opened(engine) as snapshot:
        assert [hit.id for hit in snapshot.search(Query(text="after"))] == ["mal-1"]
    assert pointer_of(engine).watermark <= now()


def test_a_disk_that_takes_no_more_leaves_what_is_searched(engine: Engine) -> None:
    store(engine.db, [entry(1, "Before")])
    build(engine)
    store(engine.db, [entry(2, "After", updated_at=now())])
    job = engine.submit("vector_index")
    engine.plan(job.id)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        engine.turn(job.id, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    ended = engine.drive(job.id)

    assert ended.status is JobStatus.PARTIAL
    error = engine.items(job.id)[-1].error
    assert error is not None
    assert (error.code, "stays" in error.message) == ("index_not_written", True)
    assert str(engine.settings.index_dir) not in error.message
    with opened(engine) as snapshot:
        assert list(snapshot.ids()) == ["mal-1"]
    build(engine)
    with opened(engine) as snapshot:
        assert len(snapshot) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"title": None},
        {"tags": "rock"},
        {"score": float("nan")},
        {"trackId": 5},
        {"_id": 7},
        {"_id": ""},
        {"year": 1.5},
    ],
)
def test_an_entry_that_others_spoiled_does_not_keep_the_rest_from_the_index(
    engine: Engine, changes: dict[str, object]
) -> None:
    store(engine.db, [entry(1, "Sound")])
    build(engine)
    spoiled = {**entry(2, "Spoiled").to_document(), **changes, "updatedAt": now()}
    engine.db[catalogue.COLLECTION].insert_one(spoiled)
    store(engine.db, [entry(3, "Later", updated_at=now())])

    for rebuild in (False, True):
        job = build(engine, rebuild=rebuild)

        assert job.status is JobStatus.SUCCEEDED
        with opened(engine) as snapshot:
            assert set(snapshot.ids()) == {"mal-1", "mal-3"}


def test_a_number_that_no_track_can_have_is_none(db: Db, settings: Settings) -> None:
    """Some clients write -1 for a key that nobody knows, as Spotify does."""
    with engine_on(db, settings.model_copy(update={"spotify_may_train": True})) as engine:
        for number in range(5):
            fields = {"tempo": 100.0 + number, "energy": number / 4, "key": number, "duration_ms": 60_000 + number}
            engine.db[audio_features.COLLECTION].insert_one({"userId": "ada", "trackId": f"t{number}", **fields})
        odd = {"tempo": -1, "energy": 1e300, "key": -1, "duration_ms": -5, "valence": 7}
        engine.db[audio_features.COLLECTION].insert_one({"userId": "ada", "trackId": "odd", **odd})

        build(engine, index="tracks")

        with opened(engine, "tracks") as snapshot:
            assert not snapshot.entry("ada\nodd").attributes.keys() & {"tempo", "energy", "key", "duration", "valence"}
            hits = snapshot.search(Query(targets={"energy": Target(1.0)}, k=5))
            assert [hit.id for hit in hits] == [f"ada\nt{number}" for number in (4, 3, 2, 1, 0)]


def test_who_may_train_no_longer_has_an_index_without_what_came_from_spotify(
    engine: Engine, db: Db, settings: Settings
) -> None:
    said = {"userId": "ada", "trackId": "t1", "tempo": 99.0, "sources": {"tempo": "spotify"}}
    db[audio_features.COLLECTION].insert_one({**said, "updatedAt": now() - timedelta(days=1)})
    with engine_on(db, settings.model_copy(update={"spotify_may_train": True})) as may:
        build(may, index="tracks")
    fast = Query(conditions=[Between("tempo", 90)], text="t1", k=5)
    with opened(engine, "tracks") as snapshot:
        assert snapshot.entry("ada\nt1").attributes["tempo"] == 99.0

    build(engine, index="tracks")

    with opened(engine, "tracks") as snapshot:
        assert snapshot.search(fast) == []
        assert snapshot.entry("ada\nt1").attributes.get("tempo") is None
    pointer = indexes.find(db, OWNER, "tracks")
    assert pointer is not None
    assert pointer.before is None  # nobody goes back to it


def test_owners_have_indexes_of_their_own(engine: Engine) -> None:
    store(engine.db, [entry(1, "Ours")])
    other = library(engine.db, "beta")
    store(other, [entry(2, "Theirs")])
    kind = get_kind("vector_index")
    try:
        for owner in (OWNER, "beta"):
            job, _ = lifecycle.submit(engine.db, kind, lifecycle.validate_request(kind, {}), owner=owner)
            assert engine.drive(job.id).status is JobStatus.SUCCEEDED
    finally:
        engine.db.client.drop_database(other.name)

    for owner, one in ((OWNER, "mal-1"), ("beta", "mal-2")):
        pointer = indexes.find(engine.db, owner, "catalogue")
        assert pointer is not None
        with Shelf(indexes.folder(engine.settings.index_dir, owner, "catalogue")).open(pointer.snapshot) as snapshot:
            assert set(snapshot.ids()) == {one}
