"""Migrations: each once, in order, on every owner's library, by one at a time; and no old code on a new database."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from threading import Barrier, Thread

import httpx
import pytest

from api.app import create_app
from api.connection import Connection
from shared.errors import DatabaseTooNew, MigrationLocked, UnknownMigration
from shared.jobs import get_kind
from shared.lifecycle import submit, validate_request
from shared.migrations import LATEST, MIGRATIONS
from shared.migrations.migration import Migration
from shared.migrations.runner import Step, migrate
from shared.model import Db
from shared.settings import Settings
from shared.startup import MISCONFIGURED
from shared.store import migrations
from shared.store.database import library
from tests.environment import variables_set
from tests.holders import give_key
from tests.machine import ROOT, celery
from tests.shell import Shell


def pending(db: Db) -> int:
    return db["users"].count_documents({"plan": {"$exists": False}})


def apply(db: Db) -> int:
    return db["users"].update_many({"plan": {"$exists": False}}, {"$set": {"plan": "free"}}).modified_count


def nothing(db: Db) -> int:
    return 0


PLANS = Migration(number=2, title="Users have a plan", pending=pending, apply=apply)
KNOWN = (*MIGRATIONS, PLANS)


@pytest.fixture
def owned(db: Db) -> Iterator[Db]:
    """A database with three owners: the default one, one with a key, and one with a job."""
    give_key(db, "beta")
    kind = get_kind("squares")
    submit(db, kind, validate_request(kind, {"items": 1}), owner="gamma")
    for owner, users in (("local", 2), ("beta", 3), ("gamma", 4)):
        library(db, owner)["users"].insert_many([{"userId": f"user {n}"} for n in range(users)])
    yield db
    for owner in ("beta", "gamma"):
        db.client.drop_database(library(db, owner).name)


def test_a_migration_is_applied_to_every_owners_library_and_recorded(owned: Db) -> None:
    steps = migrate(owned, known=KNOWN)

    assert [(step.number, step.documents) for step in steps] == [(1, 0), (1, 0), (1, 0), (2, 2), (2, 3), (2, 4)]
    assert [library(owned, owner)["users"].count_documents({"plan": "free"}) for owner in ("beta", "gamma")] == [3, 4]
    assert [(one.number, one.documents) for one in migrations.find_all(owned)] == [(1, 0), (2, 9)]
    assert migrations.version(owned) == 2
    assert migrate(owned, known=KNOWN) == []


def test_a_dry_run_counts_and_changes_nothing(owned: Db) -> None:
    steps = migrate(owned, known=KNOWN, dry_run=True)

    assert sum(step.documents for step in steps) == 9
    assert migrations.version(owned) == 0
    assert pending(owned) == 2


def test_one_may_go_up_to_a_number_and_never_back(owned: Db) -> None:
    assert {step.number for step in migrate(owned, known=KNOWN, to=1)} == {1}
    migrate(owned, known=KNOWN)
    with pytest.raises(UnknownMigration, match="nothing leads back"):
        migrate(owned, known=KNOWN, to=1)
    with pytest.raises(UnknownMigration, match="no migration 9"):
        migrate(owned, known=KNOWN, to=9)


def test_what_breaks_off_is_gone_on_with(owned: Db) -> None:
    def breaks(db: Db) -> int:
        if db.name.endswith("gamma"):
            raise RuntimeError("the power went")
        return apply(db)

    broken = Migration(number=2, title="Users have a plan", pending=pending, apply=breaks)
    with pytest.raises(RuntimeError):
        migrate(owned, known=(*MIGRATIONS, broken))
    assert migrations.version(owned) == 1

    steps = migrate(owned, known=KNOWN)

    assert [(step.database.rpartition("_")[2], step.documents) for step in steps][1:] == [("beta", 0), ("gamma", 4)]
    assert migrations.version(owned) == 2


def test_two_at_once_are_one(owned: Db) -> None:
    together = Barrier(2)

    def slow(db: Db) -> int:
        together.wait(20)
        return apply(db)

    known = (*MIGRATIONS, Migration(number=2, title="Users have a plan", pending=pending, apply=slow))
    steps: list[Step] = []
    first = Thread(target=lambda: steps.extend(migrate(owned, known=known)))
    first.start()
    together.wait(20)  # the first is at the first database
    with pytest.raises(MigrationLocked):
        migrate(owned, known=KNOWN)
    together.wait(20)
    together.wait(20)
    first.join()
    assert [step.documents for step in steps if step.number == 2] == [2, 3, 4]
    assert migrate(owned, known=KNOWN) == []


def test_the_lock_of_one_that_died_runs_out(owned: Db) -> None:
    assert migrations.lock(owned, "dead", timedelta(seconds=-1)) is None
    assert migrate(owned, known=KNOWN)
    assert owned["migrations"].find_one({"_id": "lock"}) is None


def test_one_that_was_silent_for_too_long_stops(owned: Db) -> None:
    def loses_the_lock(db: Db) -> int:
        owned["migrations"].update_one({"_id": "lock"}, {"$set": {"token": "another"}})
        return 0

    known = (*MIGRATIONS, Migration(number=2, title="Slow", pending=nothing, apply=loses_the_lock))
    with pytest.raises(MigrationLocked, match="taken over"):
        migrate(owned, known=known)
    assert migrations.version(owned) == 1


@pytest.fixture
def newer(db: Db) -> Db:
    """A database that a later version has migrated."""
    known = (*MIGRATIONS, Migration(number=LATEST + 1, title="The future", pending=nothing, apply=nothing))
    migrate(db, known=known)
    return db


def test_an_api_refuses_a_newer_database_at_its_start(
    newer: Db, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        create_app(settings)

    assert refusal.value.code == MISCONFIGURED
    assert f"at migration {LATEST + 1}" in capsys.readouterr().err


def test_workers_refuse_a_newer_database_at_their_start(newer: Db, settings: Settings) -> None:
    environment = {**os.environ, "BACKLINE_JOB_MODULES": ""}
    command = celery("worker", "-Q", "control", "-c", "1", "--without-gossip", "--without-mingle")
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == MISCONFIGURED
    assert f"at migration {LATEST + 1}" in ended.stderr


def test_a_migration_refuses_a_newer_database_too(newer: Db) -> None:
    with pytest.raises(DatabaseTooNew):
        migrate(newer)


def test_an_api_whose_database_was_migrated_meanwhile_refuses_requests(
    api: httpx.Client, newer: Db, settings: Settings
) -> None:
    connection = Connection(settings)
    connection._prepare()
    with pytest.raises(DatabaseTooNew):
        _ = connection.db
    connection.close()


def test_the_command_migrates_without_an_api(
    owned: Db, nowhere: Shell, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with variables_set(monkeypatch, {"BACKLINE_URL": None}):
        counted = nowhere("database", "migrate", "--dry-run", "--json")
        done = nowhere("database", "migrate")
        again = nowhere("database", "migrate")
        wrong = nowhere("database", "migrate", "--to", "9999")

    assert counted.json["version"] == 0
    assert {step["number"] for step in counted.json["steps"]} == {one.number for one in MIGRATIONS}
    assert done.code == 0
    assert "nothing to do" in again.err
    assert wrong.code == 1
    assert "no migration 9999" in wrong.line
