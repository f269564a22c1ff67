"""Importing catalogues: what stands in the library after any releases, in any order of chunks, whatever broke off."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.model import Db, Json
from shared.settings import Settings
from shared.store import catalogue, chunks, imports
from shared.store.job_record import JobRecord, JobStatus
from tests.catalogue_data import Entry, entries, sources_of, write_release
from tests.integration.engine import Engine, engine_on
from workers.catalogue import settling

VARYING = ("createdAt", "updatedAt", "seenIn", "lastChange", "removedAt")


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """Settings under which the test's folder may be read, with a spool of its own."""
    return settings.model_copy(update={"catalogue_roots": (tmp_path,), "data_dir": tmp_path / "data"})


@pytest.fixture
def engine(db: Db, own: Settings) -> Iterator[Engine]:
    with engine_on(db, own) as one:
        yield one


def run(engine: Engine, path: Path, **request: Any) -> JobRecord:
    """Import a file to the end of its job."""
    job = engine.submit("catalogue_import", path=str(path), index=False, **request)
    return engine.drive(job.id)


def release(engine: Engine, folder: Path, *data: Entry, **request: Any) -> Json:
    """Import these entries as a release, and return the summary."""
    path = write_release(folder / "release.jsonl", data)
    job = run(engine, path, **request)
    assert job.status is JobStatus.SUCCEEDED, (job.error, [item.error for item in engine.items(job.id)])
    assert job.summary is not None
    return job.summary


def one(title: str, *, year: int = 2001, **ids: int) -> Entry:
    """Return an entry with these ids at the providers."""
    sources = [source for name, number in ids.items() for source in sources_of(number, (name,))]
    return {
        "sources": sources,
        "title": title,
        "type": "TV",
        "episodes": 12,
        "status": "FINISHED",
        "animeSeason": {"season": "FALL", "year": year},
        "picture": "https://example.org/picture.jpg",
        "thumbnail": "https://example.org/thumbnail.jpg",
        "synonyms": [],
        "studios": [],
        "producers": [],
        "relatedAnime": [],
        "tags": ["drama"],
    }


def stored(db: Db) -> dict[str, Json]:
    return {document["_id"]: document for document in db[catalogue.COLLECTION].find()}


def titles(db: Db) -> dict[str, str]:
    """Return the titles of what is there, by id."""
    return {item_id: one["title"] for item_id, one in stored(db).items() if one["removedAt"] is None}


def comparable(db: Db) -> dict[str, Json]:
    """Return what is stored, without what differs from job to job."""
    return {
        item_id: {
            **{name: value for name, value in document.items() if name not in (*VARYING, "sparedIn")},
            "isRemoved": document["removedAt"] is not None,
        }
        for item_id, document in stored(db).items()
    }


# One release


def test_a_release_is_imported_with_ids_hashes_and_quality(engine: Engine, tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.json.zst", entries(300), "2026-11-20")

    job = run(engine, path)

    assert job.status is JobStatus.SUCCEEDED
    assert job.summary is not None
    assert (job.summary["entries"], job.summary["new"], job.summary["releaseDate"]) == (300, 300, "2026-11-20")
    assert job.summary["settled"]
    assert job.progress.total == 301
    documents = stored(engine.db)
    assert len(documents) == 300
    for made in entries(300):
        found = next(one for one in documents.values() if one["sources"] == made["sources"])
        assert found["title"] == made["title"]
        assert found["year"] == made["animeSeason"].get("year")
        assert found["durationSeconds"] == made.get("duration", {}).get("value")
        assert found["_id"].partition("-")[0] in ("mal", "anilist", "kitsu", "anidb", "src")
        assert 0 < found["quality"] <= 1
        assert found["seenIn"] == job.id


def test_a_second_import_of_the_same_file_does_nothing(engine: Engine, tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.jsonl", entries(20))
    run(engine, path)
    before = stored(engine.db)

    again = run(engine, path)

    assert (again.status, again.progress.total) == (JobStatus.SUCCEEDED, 0)
    assert again.summary is not None
    assert again.summary["unchanged"]
    assert stored(engine.db) == before


def test_the_same_entries_packed_otherwise_are_the_same_release(engine: Engine, tmp_path: Path) -> None:
    run(engine, write_release(tmp_path / "release.jsonl", entries(20), "2026-11-13"))

    again = run(engine, write_release(tmp_path / "release.jsonl.gz", entries(20), "2026-11-20"))

    assert again.summary is not None
    assert again.summary["unchanged"]


def test_a_forced_import_of_the_same_release_changes_no_document(engine: Engine, tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.jsonl", entries(40))
    run(engine, path)
    before = stored(engine.db)

    again = run(engine, path, force=True)

    assert again.summary is not None
    assert (again.summary["same"], again.summary["changed"], again.summary["new"]) == (40, 0, 0)
    assert {i: one["updatedAt"] for i, one in stored(engine.db).items()} == {
        i: one["updatedAt"] for i, one in before.items()
    }


# Over releases


def test_only_what_changed_moves(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("First", myanimelist=1), one("Second", myanimelist=2), one("Third", myanimelist=3))
    before = stored(engine.db)

    told = release(
        engine,
        tmp_path,
        one("First", myanimelist=1),
        one("Second, again", myanimelist=2),
        one("Fourth", myanimelist=4),
        one("Third", myanimelist=3),
    )

    after = stored(engine.db)
    assert (told["same"], told["changed"], told["new"], told["removed"]) == (2, 1, 1, 0)
    moved = {item_id for item_id in before if before[item_id]["updatedAt"] != after[item_id]["updatedAt"]}
    assert moved == {"mal-2"}
    assert after["mal-2"]["createdAt"] == before["mal-2"]["createdAt"]


def test_an_entry_that_gains_a_better_id_keeps_its_own(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("Early", anilist=5))

    release(engine, tmp_path, one("Early", anilist=5, myanimelist=77))

    assert titles(engine.db) == {"anilist-5": "Early"}
    assert stored(engine.db)["anilist-5"]["ids"] == {"anilist": "5", "myanimelist": "77"}


def test_an_entry_that_loses_the_source_of_its_id_keeps_it(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("Kept", myanimelist=1, anilist=5), one("Other", myanimelist=2))
    created = stored(engine.db)["mal-1"]["createdAt"]

    told = release(engine, tmp_path, one("Kept", anilist=5), one("Other", myanimelist=2))

    assert titles(engine.db) == {"mal-1": "Kept", "mal-2": "Other"}
    assert (told["carriedOver"], told["new"], told["removed"], told["changed"]) == (1, 0, 0, 1)
    assert stored(engine.db)["mal-1"]["createdAt"] == created
    third = release(engine, tmp_path, one("Kept", anilist=5, kitsu=9), one("Other", myanimelist=2))
    assert titles(engine.db) == {"mal-1": "Kept", "mal-2": "Other"}
    assert (third["carriedOver"], third["changed"], third["same"]) == (0, 1, 1)


def test_the_id_that_was_kept_is_not_given_to_another(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("Kept", myanimelist=1, anilist=5), one("Other", myanimelist=2))
    release(engine, tmp_path, one("Kept", anilist=5), one("Other", myanimelist=2))

    release(engine, tmp_path, one("Kept", anilist=5), one("Other", myanimelist=2), one("Newcomer", myanimelist=1))

    found = titles(engine.db)
    assert found["mal-1"] == "Kept"
    assert sorted(found.values()) == ["Kept", "Newcomer", "Other"]


def test_an_entry_that_is_split_leaves_the_id_with_its_primary_source(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("Both", myanimelist=1, anilist=5))

    told = release(engine, tmp_path, one("Second half", anilist=5), one("First half", myanimelist=1))

    assert titles(engine.db) == {"mal-1": "First half", "anilist-5": "Second half"}
    assert (told["new"], told["changed"]) == (1, 1)


def test_entries_that_are_merged_become_the_better_one(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("Same", anilist=5), one("Same", myanimelist=1), one("Other", kitsu=3))

    told = release(engine, tmp_path, one("Same", myanimelist=1, anilist=5), one("Other", kitsu=3))

    assert titles(engine.db) == {"mal-1": "Same", "kitsu-3": "Other"}
    assert told["removed"] == 1
    assert stored(engine.db)["anilist-5"]["removedAt"] is not None


def test_a_provider_that_moves_to_another_address_changes_nobody(engine: Engine, tmp_path: Path) -> None:
    old = one("Moved", kitsu=3)
    release(engine, tmp_path, {**old, "sources": ["http://www.kitsu.io/anime/3/"]})

    told = release(engine, tmp_path, old, force=True)

    assert titles(engine.db) == {"kitsu-3": "Moved"}
    assert told["same"] == 1


# What is gone


def test_what_a_release_no_longer_has_is_marked_and_comes_back_as_it_was(engine: Engine, tmp_path: Path) -> None:
    everything = [one(f"Number {number}", myanimelist=number) for number in range(1, 6)]
    release(engine, tmp_path, *everything)
    created = stored(engine.db)["mal-1"]["createdAt"]

    without = release(engine, tmp_path, *everything[1:])

    gone = stored(engine.db)["mal-1"]
    assert (without["removed"], without["same"]) == (1, 4)
    assert gone["removedAt"] is not None
    assert gone["updatedAt"] == gone["removedAt"]
    still = release(engine, tmp_path, *everything[1:], one("Number 6", myanimelist=6))
    assert still["removed"] == 0
    assert stored(engine.db)["mal-1"]["removedAt"] == gone["removedAt"]
    back = release(engine, tmp_path, *everything, one("Number 6", myanimelist=6))
    assert (back["revived"], back["new"]) == (1, 0)
    assert stored(engine.db)["mal-1"]["removedAt"] is None
    assert stored(engine.db)["mal-1"]["createdAt"] == created


def test_a_release_that_lacks_more_than_half_removes_nothing_unless_forced(engine: Engine, tmp_path: Path) -> None:
    everything = [one(f"Number {number}", myanimelist=number) for number in range(1, 6)]
    release(engine, tmp_path, *everything)

    told = release(engine, tmp_path, *everything[:2])

    assert (told["removed"], told["keptBack"]) == (0, 3)
    assert len(titles(engine.db)) == 5
    forced = release(engine, tmp_path, *everything[:2], force=True)
    assert (forced["removed"], forced["keptBack"]) == (3, 0)
    assert sorted(titles(engine.db)) == ["mal-1", "mal-2"]


def test_catalogues_do_not_touch_one_another(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("Mine", myanimelist=1), one("Also mine", myanimelist=2))

    release(engine, tmp_path, one("Theirs", myanimelist=1), one("Also theirs", kitsu=2), catalogue="elsewhere")

    found = titles(engine.db)
    assert (found["mal-1"], found["mal-2"], found["kitsu-2"]) == ("Mine", "Also mine", "Also theirs")
    assert sorted(found.values()) == ["Also mine", "Also theirs", "Mine", "Theirs"]
    release(
        engine, tmp_path, one("Theirs", myanimelist=1), one("Also theirs", kitsu=2), catalogue="elsewhere", force=True
    )
    assert titles(engine.db) == found


# Entries that can't be used


def test_an_entry_that_cannot_be_used_fails_alone_and_leaves_its_document(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("First", myanimelist=1), one("Second", myanimelist=2), one("Third", myanimelist=3))
    bad = [
        {**one("First", myanimelist=1), "tags": "drama"},
        {**one("", myanimelist=2)},
        one("Third", myanimelist=3),
        {**one("Nowhere"), "sources": ["not an address"]},
    ]
    path = write_release(tmp_path / "release.jsonl", bad)

    job = run(engine, path)

    assert job.status is JobStatus.PARTIAL
    errors = {item.item["number"]: item.error for item in engine.items(job.id) if item.error}
    assert {number: error.code for number, error in errors.items()} == {1: "wrong_type", 2: "no_title", 4: "no_sources"}
    assert "'tags'" in errors[1].message
    assert titles(engine.db) == {"mal-1": "First", "mal-2": "Second", "mal-3": "Third"}
    assert job.summary is not None
    assert job.summary["failures"] == {"no_sources": 1, "no_title": 1, "wrong_type": 1}
    assert (job.summary["removed"], job.summary["settled"], job.summary["failed"]) == (0, True, 3)


def test_lines_that_are_no_json_fail_alone_and_leave_their_documents(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, *(one(f"Number {n}", myanimelist=n) for n in range(1, 6)))
    path = write_release(tmp_path / "release.jsonl", [one(f"Number {n}", myanimelist=n) for n in range(1, 6)])
    path.write_bytes(path.read_bytes().replace(b'"title":"Number 2"', b'"title":Number 2'))

    job = run(engine, path)

    assert [item.error.code for item in engine.items(job.id) if item.error] == ["bad_json"]
    assert len(titles(engine.db)) == 5


def test_nothing_is_imported_from_a_file_that_is_cut_off(engine: Engine, tmp_path: Path) -> None:
    whole = write_release(tmp_path / "whole.jsonl.zst", entries(200)).read_bytes()
    path = tmp_path / "cut.jsonl.zst"
    path.write_bytes(whole[: len(whole) // 2])

    job = run(engine, path)

    assert (job.status, job.error and job.error.code) == (JobStatus.FAILED, "source_damaged")
    assert not stored(engine.db)


@pytest.mark.parametrize("way", ["outside", "by a symlink", "missing"])
def test_a_path_that_may_not_be_read_is_refused(engine: Engine, tmp_path: Path, way: str) -> None:
    paths = {"outside": Path("/etc/hostname"), "by a symlink": tmp_path / "link", "missing": tmp_path / "none.json"}
    (tmp_path / "link").symlink_to("/etc/hostname")

    job = run(engine, paths[way])

    assert (job.status, job.error and job.error.code) == (
        JobStatus.FAILED,
        "missing" if way == "missing" else "outside_roots",
    )
    assert not list((tmp_path / "data" / "spool").glob("*.jsonl"))


# Order, crashes and company


def shuffled(engine: Engine, job: JobRecord, chance: random.Random) -> JobRecord:
    """Drive a job whose chunks are claimed in another order than they were planned in."""
    for _ in range(1000):
        job = engine.job(job.id)
        if job.status.is_final:
            return job
        engine.plan(job.id)
        for chunk in engine.db[chunks.COLLECTION].find({"jobId": job.id}):
            engine.db[chunks.COLLECTION].update_one({"_id": chunk["_id"]}, {"$set": {"turn": chance.random()}})
        while engine.live(job.id):
            engine.run()
        engine.finish(job.id)
    raise AssertionError("it did not end")


def hostile(chance: random.Random, count: int) -> list[Entry]:
    """Return a release in which entries share sources as they never should, lose some, and gain others."""
    found = []
    for number in range(count):
        names = [name for name in ("myanimelist", "anilist", "kitsu", "anidb") if chance.random() < 0.5] or ["anilist"]
        ids = {name: chance.randint(1, count) for name in names}
        found.append(one(f"Title {number}", year=1980 + number % 40, **ids))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_chunks_makes_no_difference(
    db: Db, own: Settings, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    releases = [write_release(tmp_path / f"{n}.jsonl", hostile(chance, 40)) for n in range(3)]
    monkeypatch.setattr(settling, "BATCH", 3)
    outcomes = []
    for turn in range(2):
        with engine_on(db, own) as engine:
            for path in releases:
                job = engine.submit("catalogue_import", path=str(path), index=False, force=True)
                ended = shuffled(engine, job, random.Random(seed * 10 + turn))
                assert ended.summary is not None
                assert ended.summary["settled"]
            outcomes.append(comparable(db))
            for name in (catalogue.COLLECTION, imports.COLLECTION):
                db[name].delete_many({})

    assert outcomes[0] == outcomes[1]
    assert outcomes[0]
