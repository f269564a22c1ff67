"""Imports: what an export has written comes back as it was, and each row that can't says which it is and why."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from bson.datetime_ms import DatetimeMS
from pymongo import monitoring

from shared.errors import InvalidRequest
from shared.items import ItemStatus
from shared.jobs import data_export
from shared.jobs.data_import import Item, Request, plan
from shared.jobs.job import JobContext
from shared.model import Db, Json
from shared.settings import Settings
from shared.store.database import connect, library
from shared.store.job_record import JobRecord, JobStatus
from tests.integration.engine import Engine, engine_on
from workers.catalogue.packing import unpacked
from workers.imports import source as reading
from workers.imports.job import import_rows

PLAYED = datetime(2026, 11, 20, 17, 45, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the workers may read."""
    path = tmp_path / "imports"
    path.mkdir()
    return path


@pytest.fixture
def engine(db: Db, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(data_export, "PART_ROWS", (10, 40))
    with engine_on(db, settings.model_copy(update={"music_roots": (folder,)})) as own:
        yield own


def run(engine: Engine, **request: Any) -> JobRecord:
    return engine.drive(engine.submit("data_import", **request).id)


def outcomes_of(engine: Engine, job: JobRecord) -> list[tuple[int, str]]:
    """Return each row's number and what became of it."""
    return [
        (item.item["row"], item.error.code if item.error else (item.result or {})["action"])
        for item in engine.items(job.id)
    ]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_an_export_that_is_imported_is_the_collection_again(engine: Engine, form: str, compression: str) -> None:
    plays = [
        {
            "_id": f"play{n:03}",
            "userId": "ada",
            "trackId": f"a track, the {n}th\n",
            "playedAt": PLAYED + timedelta(seconds=n),
            "device": {"name": "ü", "os": None},
            **({"labels": ["a", 1]} if n % 2 else {}),
        }
        for n in range(150)
    ]
    engine.db["listening_history"].insert_many(plays)
    options = {"compression": compression, "includeMetadata": True}
    request = {"format": form, "collections": ["listening_history"], "options": options}
    export = engine.drive(engine.submit("data_export", **request).id)
    assert export.summary is not None
    artifact = next(one["artifactId"] for one in export.summary["files"] if one["rows"] is not None)
    source = {"collection": "listening_history", "format": form, "artifactId": artifact}

    assert {what for _, what in outcomes_of(engine, run(engine, **source))} == {"unchanged"}
    engine.db["listening_history"].delete_many({"_id": {"$in": ["play003", "play149"]}})
    engine.db["listening_history"].update_one({"_id": "play007"}, {"$set": {"device": "another"}})
    job = run(engine, **source)

    assert sorted(engine.db["listening_history"].find(), key=lambda one: one["playedAt"]) == plays
    changed = {row: what for row, what in outcomes_of(engine, job) if what != "unchanged"}
    assert changed == {4: "inserted", 8: "replaced", 150: "inserted"}
    assert job.summary == {
        "collection": "listening_history",
        "imported": 3,
        "unchanged": 147,
        "failed": 0,
        "documents": 150,
    }


def test_each_row_that_is_wrong_says_so_and_the_others_stand(engine: Engine, folder: Path) -> None:
    rows: list[Any] = [
        {"userId": "ada", "trackId": "a", "energy": 0.5, "createdAt": "2026-01-01T00:00:00Z"},
        {"userId": "ada", "trackId": "b", "energy": 1.5},
        {"userId": "ada"},
        ["no", "object"],
        {"userId": "ada", "trackId": "c", "key": "C"},
        {"userId": "ada", "trackId": "d", "$where": 1},
        {"userId": "ada", "trackId": "e", "n": 2**70},
        {"userId": "ada", "trackId": "f", "createdAt": "yesterday"},
        {"userId": "ada", "trackId": "g", "key": -1, "mode": 0},
    ]
    lines = [json.dumps(row) for row in rows]
    (folder / "rows.jsonl").write_text("\n".join([*lines[:3], "", "{broken", *lines[3:]]) + "\n")

    job = run(engine, collection="audio_features", format="jsonl", path=str(folder / "rows.jsonl"))

    assert job.status is JobStatus.PARTIAL
    assert outcomes_of(engine, job) == [
        (1, "inserted"),
        (2, "invalid_row"),
        (3, "invalid_row"),
        (4, "unreadable_row"),
        (5, "unreadable_row"),
        (6, "invalid_row"),
        (7, "invalid_row"),
        (8, "invalid_row"),
        (9, "invalid_row"),
        (10, "inserted"),
    ]
    stored = {one["trackId"]: one for one in engine.db["audio_features"].find()}
    assert set(stored) == {"a", "g"}
    assert stored["a"]["createdAt"] == datetime(2026, 1, 1, tzinfo=UTC)
    assert stored["g"]["createdAt"] is not None
    reasons = [item.error.message for item in engine.items(job.id) if item.error]
    assert any("energy" in reason for reason in reasons)


def test_rows_of_one_key_are_one_document_and_the_last_is_it(engine: Engine, folder: Path) -> None:
    lines = [json.dumps({"userId": "ada", "trackId": "a", "energy": n / 10}) for n in range(5)]
    (folder / "rows.jsonl").write_text("\n".join(lines))

    run(engine, collection="audio_features", format="jsonl", path=str(folder / "rows.jsonl"))

    assert [one["energy"] for one in engine.db["audio_features"].find()] == [0.4]


WITHOUT_UNIQUE_KEY = ("listening_history", "recommendations", "ratings")


class Overtaking(monitoring.CommandListener):
    """Has somebody else do the same just before the first rows are written: whoever had the chunk, and wakes up."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do: Callable[[], object] | None = do

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name == "insert" and event.command["insert"] in (
            "listening_history",
            "recommendations",
            "ratings",
        ):
            do, self._do = self._do, None
            if do is not None:
                do()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note."""


@pytest.mark.parametrize(
    ("collection", "rows"),
    [
        ("listening_history", [{"trackId": f"t{n}", "playedAt": "2026-11-20T17:45:00Z"} for n in range(5)]),
        ("recommendations", [{"trackId": f"t{n}", "score": 0.5} for n in range(5)]),
        ("ratings", [{"itemId": f"i{n}", "score": 5} for n in range(5)]),
    ],
)
def test_rows_that_two_workers_write_at_once_are_there_once(
    engine: Engine, settings: Settings, folder: Path, collection: str, rows: list[Json]
) -> None:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"userId": "ada", **row}) + "\n" for row in rows))
    job = engine.submit("data_import", collection=collection, format="jsonl", path=str(path))
    request = Request.model_validate(job.request)
    context = JobContext.of(job, engine.db, engine.settings)
    items = [Item.model_validate(planned.item.model_dump()) for planned in plan(request, None, context)]
    listener = Overtaking(lambda: list(import_rows(request, items, context)))
    db = connect(settings, listeners=[listener])

    with db.client:
        outcomes = list(import_rows(request, items, replace(context, db=db)))

    assert {one.status for one in outcomes} == {ItemStatus.CACHED}
    assert engine.db[collection].count_documents({}) == len(rows)


def test_a_document_with_a_date_that_nobody_can_read_keeps_no_row_from_its_place(engine: Engine, folder: Path) -> None:
    odd = {"userId": "ada", "trackId": "a", "createdAt": PLAYED, "seenAt": DatetimeMS(2**60)}
    engine.db["audio_features"].insert_one(odd)
    rows = [{"userId": "ada", "trackId": track, "createdAt": "2026-01-01T00:00:00Z"} for track in "ab"]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    job = run(engine, collection="audio_features", format="jsonl", path=str(folder / "rows.jsonl"))

    assert outcomes_of(engine, job) == [(1, "replaced"), (2, "inserted")]


def test_what_is_there_can_be_kept(engine: Engine, folder: Path) -> None:
    engine.db["users"].insert_one({"userId": "ada", "name": "Ada", "createdAt": PLAYED})
    (folder / "users.jsonl").write_text('{"userId": "ada"}\n{"userId": "bob"}\n')
    request = {"collection": "users", "format": "jsonl", "path": str(folder / "users.jsonl")}

    job = run(engine, **request, mode="keep")

    assert outcomes_of(engine, job) == [(1, "unchanged"), (2, "inserted")]
    assert engine.db["users"].find_one({"userId": "ada"})["name"] == "Ada"  # type: ignore[index]


def test_an_id_that_belongs_to_another_document_is_a_conflict(engine: Engine, folder: Path) -> None:
    engine.db["users"].insert_one({"_id": "u1", "userId": "ada", "createdAt": PLAYED})
    (folder / "users.jsonl").write_text('{"_id": "u1", "userId": "bob"}\n')

    job = run(engine, collection="users", format="jsonl", path=str(folder / "users.jsonl"))

    assert outcomes_of(engine, job) == [(1, "conflict")]


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), ("gz", gzip.compress), ("zst", zstandard.compress)])
def test_csv_of_strangers_is_read_with_line_breaks_in_cells(
    engine: Engine, folder: Path, ending: str, pack: Any
) -> None:
    rows = ["userId,trackId,playedAt,note", 'ada,007,2026-11-20T10:00:00Z,"two\r\nlines, ""quoted"""', "bob,x,soon,"]
    text = "\ufeff" + "\r\n".join([*rows, ""])
    (folder / f"plays.csv{ending}").write_bytes(pack(text.encode()))

    job = run(engine, collection="listening_history", format="csv", path=str(folder / f"plays.csv{ending}"))

    assert outcomes_of(engine, job) == [(1, "inserted"), (2, "invalid_row")]
    stored = engine.db["listening_history"].find_one({}, {"_id": 0})
    assert stored == {
        "userId": "ada",
        "trackId": "007",
        "playedAt": datetime(2026, 11, 20, 10, tzinfo=UTC),
        "note": 'two\r\nlines, "quoted"',
    }


def test_tables_of_strangers_are_read_by_their_types(engine: Engine, folder: Path) -> None:
    table = pa.table(
        {
            "userId": ["ada", "bob"],
            "trackId": ["a", "b"],
            "playedAt": pa.array([datetime(2026, 11, 20), None], pa.timestamp("us")),
            "ratings": [[1, 2], None],
        }
    )
    pq.write_table(table, folder / "plays.parquet")

    job = run(engine, collection="listening_history", format="parquet", path=str(folder / "plays.parquet"))

    assert outcomes_of(engine, job) == [(1, "inserted"), (2, "invalid_row")]
    stored = engine.db["listening_history"].find_one({}, {"_id": 0})
    assert stored == {
        "userId": "ada",
        "trackId": "a",
        "playedAt": datetime(2026, 11, 20, tzinfo=UTC),
        "ratings": [1, 2],
    }


def test_only_files_below_the_allowed_folders_are_read(engine: Engine, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jsonl"
    secret.write_text('{"userId": "ada"}\n')
    (folder / "link.jsonl").symlink_to(secret)
    for path in (secret, folder / "link.jsonl", tmp_path / "missing.jsonl", folder / ".." / "secret.jsonl"):
        job = run(engine, collection="users", format="jsonl", path=str(path))
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error.code == "source_unreadable"
        assert "outside the folders" in job.error.message
    assert engine.db["users"].count_documents({}) == 0


def test_what_is_no_table_or_broken_is_said_to_be(engine: Engine, folder: Path) -> None:
    (folder / "no.parquet").write_bytes(b"no table at all")
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"userId": "ada"}\n' * 1000)[:60])
    for name, form in (("no.parquet", "parquet"), ("cut.jsonl.gz", "jsonl"), ("missing.csv", "csv")):
        job = run(engine, collection="users", format=form, path=str(folder / name))
        assert job.error is not None, name
        assert job.error.code == "source_unreadable", name


@pytest.mark.parametrize("name", ["users.jsonl", "users.jsonl.gz"])
@pytest.mark.parametrize("change", ["longer", "as long", "another"])
def test_a_file_that_changes_under_an_import_is_noticed(engine: Engine, folder: Path, name: str, change: str) -> None:
    path = folder / name
    rows = [json.dumps({"userId": f"user{n:05}"}) for n in range(600)]
    _write(path, rows)
    job = engine.submit("data_import", collection="users", format="jsonl", path=str(path))
    engine.plan(job.id)
    engine.run()
    before = engine.db["users"].count_documents({})
    assert 0 < before < 600

    if change == "another":
        _write(folder / "other", rows[::-1])
        (folder / "other").rename(path)
    elif change == "longer":
        with path.open("ab") as file:
            file.write(b" ")
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-9] + b"         ")
    ended = engine.drive(job.id)

    assert ended.status is not JobStatus.SUCCEEDED
    assert engine.db["users"].count_documents({}) == before
    lost = [item.error.code for item in engine.items(job.id) if item.error]
    assert set(lost) <= {"source_changed"}
    assert lost or (ended.error is not None and ended.error.code == "source_changed")
    assert ended.progress.succeeded == before
    again = run(engine, collection="users", format="jsonl", path=str(folder / "users.jsonl"))
    assert again.error is None or name.endswith(".gz")


def _write(path: Path, rows: list[str]) -> None:
    content = "".join(f"{row}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_compressed_file_is_unpacked_once_for_all_of_its_chunks(
    engine: Engine, folder: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpackings: list[int] = []

    def counted(file: Any, *, bytes_max: int) -> Iterator[bytes]:
        unpackings.append(bytes_max)
        return unpacked(file, bytes_max=bytes_max)

    monkeypatch.setattr(reading, "unpacked", counted)
    moment = PLAYED.isoformat()
    users = [f"user{n:05}" for n in range(1500)]
    if form == "jsonl":
        rows = [json.dumps({"userId": user, "createdAt": moment}) for user in users]
    else:
        rows = ["userId,createdAt", *(f"{user},{moment}" for user in users)]
    path = folder / f"users.{form}.gz"
    _write(path, rows)

    job = run(engine, collection="users", format=form, path=str(path))

    assert (job.status, job.progress.succeeded) == (JobStatus.SUCCEEDED, 1500)
    assert engine.db["users"].count_documents({}) == 1500
    assert len(unpackings) == 1
    assert run(engine, collection="users", format=form, path=str(path)).progress.cached == 1500
    assert len(unpackings) == 1


def test_what_unpacks_to_more_than_is_allowed_is_refused(db: Db, settings: Settings, folder: Path) -> None:
    _write(folder / "bomb.jsonl.gz", ["0" * 1_000_000] * 20)
    small = settings.model_copy(update={"music_roots": (folder,), "catalogue_bytes_max": 1 << 20})

    with engine_on(db, small) as engine:
        job = run(engine, collection="users", format="jsonl", path=str(folder / "bomb.jsonl.gz"))

    assert job.error is not None
    assert job.error.code == "source_too_large"
    assert [path.suffix for path in (settings.data_dir / "spool").iterdir()] == [".lock"]


def test_another_owners_artifact_can_not_be_imported_and_theirs_stays_theirs(engine: Engine, folder: Path) -> None:
    engine.db["users"].insert_one({"userId": "ada", "createdAt": PLAYED})
    export = engine.drive(engine.submit("data_export", format="jsonl", collections=["users"]).id)
    assert export.summary is not None
    source = {"collection": "users", "format": "jsonl", "artifactId": export.summary["files"][0]["artifactId"]}

    job = engine.drive(engine.submit_for("beta", "data_import", **source).id)

    assert job.error is not None
    assert job.error.code == "source_unreadable"
    (folder / "users.jsonl").write_text('{"userId": "bea"}\n')
    request = {"collection": "users", "format": "jsonl", "path": str(folder / "users.jsonl")}
    engine.drive(engine.submit_for("beta", "data_import", **request).id)
    own = library(engine.db, "beta")
    assert [one["userId"] for one in own["users"].find()] == ["bea"]
    assert [one["userId"] for one in engine.db["users"].find()] == ["ada"]
    engine.db.client.drop_database(own.name)


def test_an_empty_file_is_imported_at_once(engine: Engine, folder: Path) -> None:
    (folder / "none.jsonl").write_text("")

    job = run(engine, collection="users", format="jsonl", path=str(folder / "none.jsonl"))

    assert job.status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    "request_",
    [
        {"collection": "jobs", "format": "jsonl", "path": "/music/a"},
        {"collection": "users", "format": "json", "path": "/music/a"},
        {"collection": "users", "format": "csv"},
        {"collection": "users", "format": "csv", "path": "/music/a", "artifactId": "art_1"},
        {"collection": "users", "format": "csv", "path": "music/a"},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(engine: Engine, request_: Json) -> None:
    with pytest.raises(InvalidRequest):
        engine.submit("data_import", **request_)
