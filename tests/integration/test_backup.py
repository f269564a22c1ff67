"""What `backline backup` keeps, `backline restore` brings back: to the last byte, after any kill, while jobs run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import bson
import httpx
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from deploy.backup.archive import Archive
from deploy.backup.errors import BackupDamaged
from deploy.backup.manifest import KeptCollection, definitions
from deploy.backup.restoring import restore
from deploy.backup.streams import read_documents
from deploy.backup.taking import take
from deploy.stack import StackOptions, temporary_stack
from shared import lifecycle
from shared.clock import now
from shared.errors import RestoreUnfinished
from shared.items import ItemStatus
from shared.migrations import LATEST
from shared.model import Db
from shared.settings import Settings
from shared.startup import refuse_newer_database
from shared.store import artifacts, outcomes, restoring, slots
from shared.store import chunks as chunk_store
from shared.store.database import connect, ensure_library_indexes, library
from shared.store.id_ranges import collections_of
from shared.store.job_record import JobStatus
from tests.api_server import bearer
from tests.holders import give_key
from tests.integration.engine import Engine, engine_on
from tests.machine import ROOT
from tests.shell import Shell
from tests.waiting import wait_until

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
TYPES = [
    *(None, True, 7, -7, bson.Int64(2**60), 1.5, float("inf"), "text", "", b"bytes", bson.Binary(b"b", 128)),
    *(bson.ObjectId(), datetime(2026, 1, 1, tzinfo=UTC), bson.Timestamp(4, 2), bson.Decimal128("1.10")),
    *({"b": 1, "a": {"c": [1, {"d": None}]}}, bson.Regex("^a", "i"), bson.MaxKey(), bson.MinKey()),
]


def raw(db: Db) -> dict[str, set[bytes]]:
    """Return every document of a database as bytes, but for those of collections that are not kept."""
    names = [name for name in collections_of(db) if name not in (slots.COLLECTION, restoring.COLLECTION)]
    return {name: documents_of(db, name) for name in names}


def documents_of(db: Db, name: str) -> set[bytes]:
    found: Collection[RawBSONDocument] = db.get_collection(name, codec_options=RAW)  # type: ignore[assignment]
    return {bytes(one.raw) for one in found.find()}


def index_definitions(db: Db) -> dict[str, Any]:
    return {name: definitions(db, name) for name in collections_of(db) if name not in PASSED_OVER}


PASSED_OVER = (slots.COLLECTION, restoring.COLLECTION)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "api.cli.main", *arguments]


@pytest.fixture
def full(db: Db) -> Iterator[Db]:
    """An installation with two owners, every type of id and value, indexes of every sort, and an artifact."""
    give_key(db, "beta")
    beta = library(db, "beta")
    ensure_library_indexes(beta)
    db["oddities"].insert_many([{"_id": value, "value": value} for value in TYPES])
    db["oddities"].insert_many([{"value": value, "place": place} for place, value in enumerate(TYPES)])
    db["strange / name"].insert_one({"_id": 1})
    db["empty"].create_index("field")
    beta["plays"].insert_many([{"_id": n, "track": f"t{n % 7}", "seconds": n / 3} for n in range(500)])
    beta["plays"].create_index([("track", 1), ("seconds", -1)], name="by track")
    beta["plays"].create_index("seconds", unique=True)
    beta["plays"].create_index("track", partialFilterExpression={"seconds": {"$gt": 10}}, name="long")
    writer = artifacts.Writer(beta, "songs.csv", now() + timedelta(days=1))
    writer.write(os.urandom(2_500_000))
    writer.keep({})
    yield db
    db.client.drop_database(beta.name)


@pytest.fixture
def elsewhere(db: Db) -> Iterator[Db]:
    """Another name on the same server."""
    other: Db = db.client.get_database(f"{db.name}x", db.codec_options)
    yield other
    for name in db.client.list_database_names():
        if name.startswith(other.name):
            db.client.drop_database(name)


def same(one: Db, other: Db, owners: tuple[str, ...] = ("local", "beta")) -> bool:
    pairs = [(library(one, owner), library(other, owner)) for owner in owners]
    return all(raw(a) == raw(b) and index_definitions(a) == index_definitions(b) for a, b in pairs)


# To the last byte


@pytest.mark.parametrize("name", ["folder", "file.tar"])
def test_what_is_restored_is_the_same_to_the_last_byte(
    full: Db, elsewhere: Db, nowhere: Shell, settings: Settings, tmp_path: Path, name: str
) -> None:
    target = tmp_path / name
    kept = nowhere("backup", str(target), "--json")
    checked = nowhere("restore", str(target), "--check", "--json")
    done = nowhere("restore", str(target), "--into", elsewhere.name, "--json")

    assert kept.code == 0, kept.err
    assert kept.json["documents"] == done.json["documents"] == sum(map(len, (*raw(full).values(), *beta_of(full))))
    assert checked.json["id"] == done.json["id"] == kept.json["id"]
    assert done.code == 0, done.err
    assert done.json["notes"] == []
    assert same(full, elsewhere)
    assert target.is_file() is name.endswith(".tar")
    assert os.stat(target).st_mode & 0o077 == 0


def beta_of(db: Db) -> list[set[bytes]]:
    return list(raw(library(db, "beta")).values())


def test_a_backup_can_be_checked_and_unpacked_without_backline(full: Db, nowhere: Shell, tmp_path: Path) -> None:
    assert nowhere("backup", str(tmp_path / "kept")).code == 0

    summed = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "kept", check=False)

    assert summed.returncode == 0
    listed = {line.split("  ")[1] for line in (tmp_path / "kept" / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(tmp_path / "kept")) for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert there == {*listed, "SHA256SUMS"}


def test_what_another_installation_has_beside_is_left_alone(
    full: Db, elsewhere: Db, nowhere: Shell, tmp_path: Path
) -> None:
    neighbour = full.client.get_database(f"{full.name}_staging")
    neighbour["jobs"].insert_one({"_id": "job_1"})
    left = library(full, "gone")  # whose keys and jobs are no more
    left["users"].insert_one({"userId": "eve"})
    try:
        assert nowhere("backup", str(tmp_path / "kept")).code == 0
        owners = {one["owner"] for one in json.loads((tmp_path / "kept" / "manifest.json").read_text())["collections"]}
        assert owners == {"", "beta", "gone"}
    finally:
        full.client.drop_database(neighbour.name)
        full.client.drop_database(left.name)


# Refusals


def test_a_database_that_holds_something_is_left_as_it_is_unless_forced(
    full: Db, nowhere: Shell, tmp_path: Path
) -> None:
    nowhere("backup", str(tmp_path / "kept"))
    before = raw(full)
    library(full, "beta")["later"].insert_one({"_id": 1})

    refused = nowhere("restore", str(tmp_path / "kept"))
    again = nowhere("backup", str(tmp_path / "kept"))

    assert refused.code == 1
    assert "not empty" in refused.line
    assert "--force" in refused.line
    assert raw(full) == before
    assert again.code == 1
    assert "finished backup" in again.line
    assert nowhere("restore", str(tmp_path / "kept"), "--force").code == 0
    assert raw(full) == before
    assert "later" not in collections_of(library(full, "beta"))


def test_nothing_is_restored_under_living_workers(full: Db, settings: Settings, nowhere: Shell, tmp_path: Path) -> None:
    nowhere("backup", str(tmp_path / "kept"))
    with engine_on(full, settings):
        wait_until(lambda: slots.find_alive(full), what="a sign of life")
        assert "Workers run" in nowhere("restore", str(tmp_path / "kept"), "--force").line


def test_a_backup_of_a_later_schema_or_form_is_refused(full: Db, elsewhere: Db, nowhere: Shell, tmp_path: Path) -> None:
    nowhere("backup", str(tmp_path / "kept"))
    for name, value in (("migration", LATEST + 1), ("format", 99)):
        shutil.copytree(tmp_path / "kept", tmp_path / name)
        change_manifest(tmp_path / name, partial(with_value, name=name, value=value))
        answer = nowhere("restore", str(tmp_path / name), "--into", elsewhere.name)
        assert answer.code == 1
        assert "later" in answer.line
    assert collections_of(elsewhere) == []


def change_manifest(folder: Path, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    done = subprocess.run(["sha256sum", "manifest.json"], cwd=folder, capture_output=True, text=True, check=True)
    kept = [line for line in (folder / "SHA256SUMS").read_text().splitlines() if not line.endswith("manifest.json")]
    (folder / "SHA256SUMS").write_text("\n".join([*kept, done.stdout]))


def with_value(manifest: Mapping[str, Any], *, name: str, value: int) -> Mapping[str, Any]:
    return {**manifest, name: value}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda path: os.truncate(path, 20)], ids=["bit", "lost", "cut"])
def test_a_damaged_backup_is_refused_before_anything_is_changed(
    full: Db, elsewhere: Db, nowhere: Shell, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    nowhere("backup", str(tmp_path / "kept"))
    damage(next((tmp_path / "kept" / "libraries" / "beta" / "plays").iterdir()))

    answer = nowhere("restore", str(tmp_path / "kept"), "--into", elsewhere.name)

    assert answer.code == 1
    assert "plays" in answer.line
    assert collections_of(elsewhere) == []


def test_an_unfinished_backup_is_none(full: Db, tmp_path: Path) -> None:
    class PowerCut(Exception):
        pass

    def cut(kept: KeptCollection) -> None:
        raise PowerCut

    with pytest.raises(PowerCut):
        take(full, tmp_path / "kept", key_file=None, tell=cut)
    with Archive(tmp_path / "kept").opened() as archive, pytest.raises(BackupDamaged):
        archive.check()


# Kills


MANY = 45_000


@pytest.fixture
def large(full: Db) -> Db:
    """The same with a collection of several parts."""
    for start in range(0, MANY, 5_000):
        full["many"].insert_many([{"_id": n, "text": f"number {n}" * 4} for n in range(start, start + 5_000)])
    return full


def journal_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def killed_when(process: subprocess.Popen[bytes], come: Callable[[], int], far: int) -> bool:
    """Kill a process once it has come so far; say whether it was still at work."""
    wait_until(lambda: come() >= far or process.poll() is not None, seconds=60, what="the moment")
    process.send_signal(signal.SIGKILL)
    return process.wait(10) == -signal.SIGKILL


def test_backup_and_restore_go_on_after_any_kill(
    large: Db, elsewhere: Db, nowhere: Shell, settings: Settings, tmp_path: Path
) -> None:
    target, kills = tmp_path / "kept", 0
    for lines in (1, 8, 20, 33):
        process = subprocess.Popen(command("backup", str(target), "--json"), cwd=ROOT, stdout=subprocess.DEVNULL)
        kills += killed_when(process, lambda: journal_lines(target / "journal.jsonl"), lines)
    assert nowhere("backup", str(target), "--json").code == 0
    assert kills >= 3
    assert (
        sum(
            part["documents"]
            for one in json.loads((target / "manifest.json").read_text())["collections"]
            if one["name"] == "many"
            for part in one["parts"]
        )
        == MANY
    )

    kills = 0
    for parts in (1, 6, 14, 30, 60):
        process = subprocess.Popen(
            command("restore", str(target), "--into", elsewhere.name, "--json"), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        kills += killed_when(process, lambda: len(restoring.done(elsewhere)), parts)
        if kills == 1:
            own = settings.model_copy(update={"mongodb_database": elsewhere.name})
            with pytest.raises(RestoreUnfinished):
                refuse_newer_database(own)
    done = nowhere("restore", str(target), "--into", elsewhere.name, "--json")

    assert done.code == 0, done.err
    assert kills >= 4
    assert same(large, elsewhere)
    assert restoring.backup_of(elsewhere) is None


# While jobs run


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as engine:
        yield engine


@pytest.mark.parametrize("after", ["schedules", "jobs", "chunks", "outcomes", "squares"])
def test_whatever_happens_between_two_collections_the_jobs_of_the_copy_come_to_their_end(
    engine: Engine, elsewhere: Db, settings: Settings, tmp_path: Path, after: str
) -> None:
    """Between the reading of two collections a whole job is done, one begins, one is retried, one goes on."""
    db = engine.db
    running = engine.submit("squares", items=60, fails=(3,))
    engine.plan(running.id)
    engine.run()
    retried = engine.submit("squares", items=20, fails_once=(5, 11))
    engine.drive(retried.id)
    db["squares"].insert_one({"_id": "nobody:1", "square": 1})

    def meanwhile(kept: KeptCollection) -> None:
        if kept.name != after:
            return
        engine.drive(running.id)
        engine.drive(engine.submit("squares", items=30).id)
        lifecycle.retry(db, retried.id)
        engine.plan(retried.id)
        engine.run()

    take(db, tmp_path / "kept", key_file=None, tell=meanwhile)
    with Archive(tmp_path / "kept").opened() as archive:
        restore(elsewhere, archive, force=False)

    own = settings.model_copy(update={"mongodb_database": elsewhere.name})
    with engine_on(elsewhere, own) as copied:
        copied.db[chunk_store.COLLECTION].update_many({}, {"$set": {"visibleAt": now()}})  # leases have run out
        first = copied.drive(running.id)
        second = copied.drive(retried.id)
        assert first.progress.succeeded == 59
        assert (first.status, first.progress.failed) == (JobStatus.PARTIAL, 1)
        assert second.progress.succeeded + second.progress.failed == 20
        for job in (first, second):
            items = copied.items(job.id)
            assert sorted(item.index for item in items) == list(range(len(items)))
            assert all(
                elsewhere["squares"].find_one({"_id": f"{job.user_id}:{item.item['number']}"})
                for item in items
                if item.status is ItemStatus.SUCCEEDED
            )


def test_a_unique_key_that_moved_while_it_was_read_is_kept_once(full: Db, elsewhere: Db, tmp_path: Path) -> None:
    """One document was deleted behind the reader's back, and written anew in front of it."""
    full["pairs"].insert_many([{"_id": n, "key": n, "maybe": n} for n in range(5)])
    full["pairs"].insert_many([{"_id": n, "key": n} for n in range(5, 9)])
    take(full, tmp_path / "kept", key_file=None)
    index = {"key": {"key": 1}, "name": "unique", "unique": True}
    sparse = {"key": {"maybe": 1}, "name": "sparse", "unique": True, "sparse": True}
    full["pairs"].update_one({"_id": 7}, {"$set": {"key": 2, "maybe": 3}})
    take(full, tmp_path / "doubled", key_file=None)

    def add_indexes(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        for one in manifest["collections"]:
            if one["name"] == "pairs":
                one["indexes"] = json.dumps([sparse, index])
        return manifest

    change_manifest(tmp_path / "doubled", add_indexes)
    with Archive(tmp_path / "doubled").opened() as archive:
        done = restore(elsewhere, archive, force=False)

    assert [one["_id"] for one in elsewhere["pairs"].find().sort("_id", 1)] == [0, 1, 4, 5, 6, 7, 8]
    assert len(done.notes) == 2


# A whole stack


def options(folder: Path) -> StackOptions:
    return StackOptions(data_dir=folder, workers=1, quiet=True, environment={"BACKLINE_JOB_MODULES": "tests.kinds"})


def plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("MONGODB_URI", "REDIS_URL")}


def run(*arguments: str) -> Any:
    done = subprocess.run(
        command(*arguments, "--json"), cwd=ROOT, env=plain(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.timeout(400)
def test_a_stack_that_works_is_kept_lost_and_restored_and_its_jobs_end(tmp_path: Path) -> None:
    original, kept, restored = tmp_path / "original", tmp_path / "kept", tmp_path / "restored"
    with temporary_stack(options(original)) as stack:
        key = stack.key
        with httpx.Client(base_url=stack.url, headers=bearer(key), trust_env=False, timeout=40) as http:
            ended = http.post(
                "/api/jobs/squares", json={"userId": "ada", "items": 5, "fails": [2]}, headers={"Prefer": "wait=30"}
            ).json()
            items = http.get(f"/api/jobs/{ended['id']}/items").json()["items"]
            long = http.post("/api/jobs/squares", json={"userId": "eve", "items": 80, "seconds": 0.1}).json()["id"]
            progress = f"/api/jobs/{long}"
            wait_until(lambda: http.get(progress).json()["progress"]["succeeded"] >= 5, what="some progress")
            run("backup", str(kept), "--data", str(original))
            assert http.get(progress).json()["status"] == "running"
        settings = Settings(mongodb_uri=stack.mongodb_uri)
        before = quiet(settings)
    shutil.rmtree(original)

    run("restore", str(kept), "--data", str(restored))

    with temporary_stack(options(restored)) as stack:
        assert stack.key == key
        assert quiet(Settings(mongodb_uri=stack.mongodb_uri)) == before
        with httpx.Client(base_url=stack.url, headers=bearer(key), trust_env=False, timeout=40) as http:
            assert http.get(f"/api/jobs/{ended['id']}").json()["progress"] == ended["progress"]
            assert http.get(f"/api/jobs/{ended['id']}/items").json()["items"] == items
            wait_until(lambda: http.get(progress).json()["status"] == "succeeded", seconds=90, what="the job's end")
            assert http.get(progress).json()["progress"]["succeeded"] == 80


def quiet(settings: Settings) -> dict[str, set[bytes]]:
    """Return what the job that runs does not touch, as bytes."""
    db = connect(settings)
    with db.client:
        found = raw(db)
        moving = ("jobs", "chunks", "outcomes", "squarings", "squares", "paces", "usage", "audit", "schedules")
        return {name: documents for name, documents in found.items() if name not in moving}


@pytest.mark.timeout(400)
def test_a_stack_at_rest_is_kept_to_the_last_byte_and_a_running_one_is_not_overwritten(tmp_path: Path) -> None:
    original, kept, restored = tmp_path / "original", tmp_path / "kept.tar", tmp_path / "restored"
    with temporary_stack(options(original)) as stack:
        headers = {**bearer(stack.key), "Prefer": "wait=30"}
        httpx.post(f"{stack.url}/api/jobs/squares", json={"items": 5}, headers=headers, timeout=40).raise_for_status()
        run("backup", str(tmp_path / "before"), "--data", str(original))
        again = command("restore", str(tmp_path / "before"), "--force", "--data", str(original))
        refused = subprocess.run(again, cwd=ROOT, env=plain(), capture_output=True, text=True, check=False)
        assert refused.returncode == 1
        assert "stack runs" in refused.stderr

    run("backup", str(kept), "--data", str(original))
    run("restore", str(kept), "--data", str(restored))
    run("backup", str(tmp_path / "again"), "--data", str(restored))

    with Archive(kept).opened() as one, Archive(tmp_path / "again").opened() as other:
        first, second = contents(one), contents(other)
    assert first["main/jobs"]
    assert first == second


def contents(archive: Archive) -> dict[str, set[bytes]]:
    found: dict[str, set[bytes]] = {}
    for kept in archive.manifest().collections:
        for part in kept.parts:
            with archive.file(part.file) as file:
                found.setdefault(part.file.rpartition("/")[0], set()).update(read_documents(file, part.file))
    return found


# Memory


def test_memory_does_not_grow_with_what_is_kept(full: Db, elsewhere: Db, tmp_path: Path) -> None:
    small = peak_mb(command("backup", str(tmp_path / "small"), "--json"))
    for n in range(120):
        full["large"].insert_one({"_id": n, "data": os.urandom(1 << 20)})

    large = peak_mb(command("backup", str(tmp_path / "large"), "--json"))
    back = peak_mb(command("restore", str(tmp_path / "large"), "--into", elsewhere.name, "--json"))

    assert large - small < 60
    assert back - small < 90


def peak_mb(arguments: list[str]) -> float:
    """Run a command in a process of its own and return the most memory that it had."""
    program = (
        "import resource, subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1024


def test_an_outcome_without_its_job_is_not_restored(full: Db, elsewhere: Db, tmp_path: Path) -> None:
    full[outcomes.COLLECTION].insert_one({"_id": "job_x:0:0", "jobId": "job_x", "epoch": 0, "n": 0, "items": []})
    take(full, tmp_path / "kept", key_file=None)
    with Archive(tmp_path / "kept").opened() as archive:
        done = restore(elsewhere, archive, force=False)

    assert elsewhere[outcomes.COLLECTION].count_documents({}) == 0
    assert len(done.notes) == 1


# By its files


def test_a_copy_of_the_data_folder_is_the_same_stack_with_the_same_key(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    with temporary_stack(options(original)) as stack:
        key = stack.key
        with httpx.Client(base_url=stack.url, headers=bearer(key), trust_env=False, timeout=40) as http:
            request = {"userId": "ada", "items": 5, "fails": [2]}
            job = http.post("/api/jobs/squares", json=request, headers={"Prefer": "wait=30"}).json()
            items = http.get(f"/api/jobs/{job['id']}/items").json()["items"]
            assert job["status"] == "partial"

    shutil.copytree(original, copy)
    shutil.rmtree(original)

    with temporary_stack(options(copy)) as restored:
        assert restored.key == key
        with httpx.Client(base_url=restored.url, headers=bearer(key), trust_env=False, timeout=40) as http:
            assert http.get(f"/api/jobs/{job['id']}").json()["progress"] == job["progress"]
            assert http.get(f"/api/jobs/{job['id']}/items").json()["items"] == items
            again = http.post("/api/jobs/squares", json=request, headers={"Prefer": "wait=30"}).json()
            assert again["status"] == "partial"
