"""Importing catalogues: what stands in the library after any releases, in any order of chunks, whatever broke off."""

from __future__ import annotations

import random
import resource
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared import lifecycle
from shared.jobs import get_kind, known_kinds
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import catalogue, chunks, imports
from shared.store.job_record import JobRecord, JobStatus
from tests.catalogue_data import Entry, entries, sources_of, tracks, write_release, write_tracks
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


ODD = {
    "too large": (b'"title":"Odd"', b'"title":"' + b"x" * 5_000_000 + b'"', "too_large"),
    "no number": (b'"episodes":12', b'"episodes":1e400', "bad_json"),
    "nested": (b'"title":"Odd"', b'"title":' + b"[" * 100_000 + b"]" * 100_000, None),
    "a huge number": (b'"episodes":12', b'"episodes":' + b"9" * 40, None),
}


@pytest.mark.parametrize("name", ["release.json", "release.jsonl"])
@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("place", [0, 1])
def test_an_odd_entry_fails_alone_wherever_it_stands(
    engine: Engine, tmp_path: Path, name: str, what: str, place: int
) -> None:
    plain, odd, code = ODD[what]
    data = [one("Plain", myanimelist=1), one("Last", myanimelist=3)]
    path = write_release(tmp_path / name, [*data[:place], one("Odd", myanimelist=2), *data[place:]])
    whole = path.read_bytes()
    assert plain in whole
    at = whole.index(b"https://myanimelist.net/anime/2")
    path.write_bytes(whole[:at] + whole[at:].replace(plain, odd, 1))

    job = run(engine, path)

    found = titles(engine.db)
    assert {"mal-1", "mal-3"} <= found.keys()
    failed = [item.error.code for item in engine.items(job.id) if item.error]
    assert failed == ([] if "mal-2" in found else [code or ("wrong_type" if name.endswith("json") else "bad_json")])


@pytest.mark.parametrize("name", ["release.json", "release.jsonl"])
def test_an_entry_that_has_grown_too_large_leaves_its_document(engine: Engine, tmp_path: Path, name: str) -> None:
    known = [one(f"Number {number}", myanimelist=number) for number in (1, 2, 3)]
    run(engine, write_release(tmp_path / "before.jsonl", known))
    grown = {**known[1], "synonyms": [f"synonym {number}" for number in range(100_000)]}

    job = run(engine, write_release(tmp_path / name, [known[0], grown]))

    assert [item.error.code for item in engine.items(job.id) if item.error] == ["too_large"]
    assert titles(engine.db).keys() == {"mal-1", "mal-2"}


@pytest.mark.parametrize("line", [b'{"title":,"sources":[]}', b'{"title":"caf\xe9","sources":[]}'])
def test_a_first_line_that_is_broken_does_not_make_a_document_of_lines(
    engine: Engine, tmp_path: Path, line: bytes
) -> None:
    path = write_release(tmp_path / "release.jsonl", [one("Sound", myanimelist=1)])
    path.write_bytes(line + b"\n" + path.read_bytes().partition(b"\n")[2])

    job = run(engine, path)

    assert (job.status, titles(engine.db)) == (JobStatus.PARTIAL, {"mal-1": "Sound"})


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


def in_chunks_of(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have imports laid out in chunks of so many entries."""
    kinds = {**known_kinds(), "catalogue_import": replace(get_kind("catalogue_import"), chunk_items_max=items)}
    monkeypatch.setattr("shared.jobs.known_kinds", lambda: kinds)


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
    in_chunks_of(3, monkeypatch)
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


class PowerCut(BaseException):
    """Stands for the end of a process: nothing catches it."""


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        (catalogue, "write", 2),  # between two chunks' writing and their outcomes
        (catalogue, "mark_seen", 3),
        (imports, "begin_hand_overs", 1),
        (catalogue, "delete", 1),  # old documents have the content, new ones are still there
        (imports, "end_hand_overs", 1),
        (catalogue, "remove", 1),
        (imports, "finish", 1),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.parametrize("is_before", [True, False], ids=["before it", "behind it"])
def test_an_import_that_breaks_off_anywhere_ends_as_if_it_had_not(
    db: Db,
    own: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    calls: int,
    is_before: bool,
) -> None:
    first = [one(f"Title {n}", myanimelist=n, anilist=n) for n in range(1, 13)]
    second = [one(f"Title {n} anew", anilist=n) for n in range(1, 5)]
    second += [one(f"Title {n}", myanimelist=n, anilist=n) for n in range(5, 12)]
    paths = [write_release(tmp_path / f"{n}.jsonl", data) for n, data in enumerate((first, second))]
    in_chunks_of(3, monkeypatch)
    quick = own.model_copy(update={"lease_seconds": 0.2})
    told = []
    for is_cut in (False, True):
        with engine_on(db, quick) as engine:
            run(engine, paths[0])
            job = engine.submit("catalogue_import", path=str(paths[1]), index=False)
            with monkeypatch.context() as patch:
                if is_cut:
                    patch.setattr(module, name, cut_at(getattr(module, name), calls, is_before=is_before))
                    with pytest.raises(PowerCut):
                        engine.drive(job.id)
            ended = engine.drive(job.id)
            assert ended.status is JobStatus.SUCCEEDED
            assert ended.summary is not None
            told.append((comparable(db), {n: v for n, v in ended.summary.items() if n != "source"}))
        for collection in (catalogue.COLLECTION, imports.COLLECTION):
            db[collection].delete_many({})
    assert told[0] == told[1]
    assert {"mal-1", "mal-12"} <= told[0][0].keys()
    assert (told[0][1]["carriedOver"], told[0][1]["removed"]) == (4, 1)


def cut_at(function: Any, calls: int, *, is_before: bool) -> Any:
    """Return `function`, but the power is cut at this call of it."""
    count = 0

    def cut(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == calls and is_before:
            raise PowerCut
        answer = function(*arguments, **named)
        if count == calls:
            raise PowerCut
        return answer

    return cut


def test_a_file_that_changes_under_the_job_fails_its_entries_and_removes_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks_of(4, monkeypatch)
    release(engine, tmp_path, *(one(f"Number {n}", myanimelist=n) for n in range(1, 13)))
    path = write_release(tmp_path / "next.jsonl", [one(f"Number {n}", myanimelist=n) for n in range(1, 12)])
    job = engine.submit("catalogue_import", path=str(path), index=False)
    engine.plan(job.id)
    engine.run()
    write_release(path, entries(3))
    for spooled in (tmp_path / "data" / "spool").iterdir():
        spooled.unlink()
    while engine.live(job.id):
        engine.run()

    ended = engine.drive(job.id)

    assert (ended.status, ended.error and ended.error.code) == (JobStatus.PARTIAL, "source_changed")
    codes = {item.error.code for item in engine.items(job.id) if item.error}
    assert codes == {"source_changed"}
    assert len(titles(engine.db)) == 12

    # The file is put back, and the job tried again: it ends as if nothing had been.
    write_release(path, [one(f"Number {n}", myanimelist=n) for n in range(1, 12)])
    lifecycle.retry(engine.db, job.id)
    assert engine.drive(job.id).status is JobStatus.SUCCEEDED
    assert sorted(titles(engine.db)) == sorted(f"mal-{n}" for n in range(1, 12))


def test_two_imports_of_a_library_take_turns(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_chunks_of(4, monkeypatch)
    paths = [write_release(tmp_path / f"{n}.jsonl", entries(12, seed=n)) for n in range(2)]
    first, second = (engine.submit("catalogue_import", path=str(path), index=False) for path in paths)
    engine.plan(first.id)
    engine.plan(second.id)

    assert engine.job(second.id).status is JobStatus.WAITING_QUOTA
    assert engine.drive(first.id).status is JobStatus.SUCCEEDED
    engine.db["jobs"].update_one({"_id": second.id}, {"$unset": {"resumesAt": ""}})
    assert engine.drive(second.id).status is JobStatus.SUCCEEDED


def test_an_import_that_was_cancelled_removes_nothing_and_blocks_nobody(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks_of(4, monkeypatch)
    release(engine, tmp_path, *(one(f"Number {n}", myanimelist=n) for n in range(1, 13)))
    path = write_release(tmp_path / "next.jsonl", [one(f"Number {n}", myanimelist=n) for n in range(1, 12)])
    job = engine.submit("catalogue_import", path=str(path), index=False)
    engine.plan(job.id)
    engine.run()
    lifecycle.cancel(engine.db, job.id)

    assert engine.drive(job.id).status is JobStatus.CANCELLED

    assert len(titles(engine.db)) == 12
    assert run(engine, path).status is JobStatus.SUCCEEDED
    assert len(titles(engine.db)) == 11


@pytest.mark.parametrize("is_release", [False, True])
def test_a_disk_that_takes_no_more_is_the_jobs_error(
    db: Db, own: Settings, releases: Releases, tmp_path: Path, is_release: bool
) -> None:
    source = {"release": True} if is_release else {"path": str(tmp_path / "web.jsonl.zst")}
    with engine_on(db, own.model_copy(update={"catalogue_url": releases.url})) as engine:
        job = engine.submit("catalogue_import", index=False, **source)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        try:
            engine.turn(job.id, 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        ended = engine.drive(job.id)

    assert (ended.status, ended.error and ended.error.code) == (JobStatus.FAILED, "plan_failed")
    assert ended.error is not None
    assert "too large" in ended.error.message.lower()
    assert not list((own.data_dir / "spool").glob("*.download"))


# Tracks


@pytest.mark.parametrize("name", ["tracks.csv", "tracks.jsonl", "tracks.csv.gz"])
def test_tracks_are_imported_by_the_same_job(engine: Engine, tmp_path: Path, name: str) -> None:
    path = write_tracks(tmp_path / name, list(tracks(60)))

    job = run(engine, path, form="tracks")

    assert job.status is JobStatus.SUCCEEDED
    documents = stored(engine.db)
    assert len(documents) == 60
    for made in tracks(60):
        found = documents[f"track-{made['trackId']}"]
        assert (found["form"], found["type"], found["catalogue"]) == ("track", "TRACK", "tracks")
        assert {name: found[name] for name in ("title", "artists", "album", "tags", "isrc", "year")} == {
            name: made[name] for name in ("title", "artists", "album", "tags", "isrc", "year")
        }
        assert (found["trackId"], found["durationSeconds"]) == (made["trackId"], made["durationSeconds"])
    again = run(engine, path, form="tracks", force=True)
    assert again.summary is not None
    assert again.summary["same"] == 60


def test_tracks_that_nobody_called_so_take_the_place_of_no_release(engine: Engine, tmp_path: Path) -> None:
    release(engine, tmp_path, one("Cowboy Bebop", myanimelist=1), one("Trigun", myanimelist=6))

    job = run(engine, write_tracks(tmp_path / "library.csv", tracks(5)))

    assert job.summary is not None
    assert (job.summary["catalogue"], job.summary["new"], job.summary["removed"]) == ("tracks", 5, 0)
    assert {"mal-1", "mal-6"} <= set(titles(engine.db))
    again = run(engine, write_tracks(tmp_path / "library.csv", tracks(5)), form="tracks")
    assert again.summary is not None
    assert again.summary["unchanged"]


def test_rows_that_do_not_fit_their_columns_fail_alone(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    path.write_text("title,artist,album\nShort\nOne, Two,Somebody,An album\nWhole,Somebody,An album,,\n")

    job = run(engine, path, form="tracks")

    assert sorted(titles(engine.db).values()) == ["Short", "Whole"]
    assert [(item.item["number"], item.error.code) for item in engine.items(job.id) if item.error] == [(2, "too_wide")]


def test_tracks_whose_ids_are_large_numbers_are_told_apart(engine: Engine, tmp_path: Path) -> None:
    data = [{"id": number, "title": f"Number {number}"} for number in (7, 2_947_516_331, 10**20)]
    path = write_tracks(tmp_path / "tracks.jsonl", data)

    run(engine, path, form="tracks")

    assert sorted(titles(engine.db)) == ["track-100000000000000000000", "track-2947516331", "track-7"]


# A release from the web


class Releases(ThreadingHTTPServer):
    """Serves one file as GitHub serves a release: behind a redirect, with an ETag."""

    def __init__(self, file: Path) -> None:
        super().__init__(("127.0.0.1", 0), ReleaseHandler)
        self.file = file
        self.etag = '"first"'
        self.asked: list[tuple[str, str | None]] = []
        self.status = 200
        self.sent: int | None = None  # bytes, where it breaks off

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/latest/release"


class ReleaseHandler(BaseHTTPRequestHandler):
    server: Releases

    def do_GET(self) -> None:
        condition = self.headers.get("If-None-Match")
        self.server.asked.append((self.path, condition))
        if self.path == "/latest/release":
            self.send_response(302)
            self.send_header("Location", "/files/release")
            self.end_headers()
        elif self.server.status != 200 or condition == self.server.etag:
            self.send_response(304 if condition == self.server.etag else self.server.status)
            self.end_headers()
        else:
            body = self.server.file.read_bytes()
            self.send_response(200)
            self.send_header("ETag", self.server.etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: self.server.sent])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its base names it so
        """Say nothing."""


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[Releases]:
    write_release(tmp_path / "web.jsonl.zst", entries(30), "2026-11-13")
    with Releases(tmp_path / "web.jsonl.zst") as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def from_web(db: Db, own: Settings, releases: Releases, **request: Any) -> JobRecord:
    with engine_on(db, own.model_copy(update={"catalogue_url": releases.url})) as engine:
        job = engine.submit("catalogue_import", release=True, index=False, **request)
        return engine.drive(job.id)


def test_a_release_is_downloaded_once_until_there_is_another(
    db: Db, own: Settings, releases: Releases, tmp_path: Path
) -> None:
    first = from_web(db, own, releases)
    assert first.summary is not None
    assert (first.status, first.summary["new"], first.summary["releaseDate"]) == (JobStatus.SUCCEEDED, 30, "2026-11-13")

    second = from_web(db, own, releases)
    assert second.summary is not None
    assert (second.status, second.summary["unchanged"]) == (JobStatus.SUCCEEDED, True)
    assert releases.asked[-1] == ("/files/release", '"first"')

    releases.etag = '"second"'
    write_release(tmp_path / "web.jsonl.zst", entries(32), "2026-11-20")
    third = from_web(db, own, releases)
    assert third.summary is not None
    assert (third.summary["new"], third.summary["same"], third.summary["releaseDate"]) == (2, 30, "2026-11-20")
    assert not list((tmp_path / "data" / "spool").glob("*.download"))


def test_a_release_is_imported_again_where_its_entries_are_said_to_be_something_else(
    db: Db, own: Settings, releases: Releases
) -> None:
    from_web(db, own, releases, catalogue="mine")

    again = from_web(db, own, releases, catalogue="mine", form="tracks")

    assert again.summary is not None
    assert (again.summary["unchanged"], again.summary["entries"]) == (False, 30)
    assert again.summary["changed"] == sum(found["form"] == "track" for found in stored(db).values()) > 0


@pytest.mark.parametrize(
    ("status", "sent", "bytes_max", "code"),
    [
        (404, None, None, "source_unavailable"),
        (503, None, None, "source_unavailable"),
        (200, 100, None, "source_unavailable"),
        (200, None, 100, "source_too_large"),
    ],
)
def test_a_release_that_cannot_be_had_is_the_jobs_error(
    db: Db, own: Settings, releases: Releases, status: int, sent: int | None, bytes_max: int | None, code: str
) -> None:
    releases.status, releases.sent = status, sent
    limited = own if bytes_max is None else own.model_copy(update={"catalogue_bytes_max": bytes_max})

    job = from_web(db, limited, releases)

    assert (job.status, job.error and job.error.code) == (JobStatus.FAILED, code)
    assert not stored(db)
    assert not list((own.data_dir / "spool").glob("*.download"))
