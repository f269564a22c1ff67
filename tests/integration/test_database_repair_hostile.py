"""Repairs that meet somebody: other repairs, other writers, kills in the middle, and documents that nobody expects."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from pymongo import IndexModel, monitoring
from pymongo.collation import Collation

from shared.errors import ItemFailed
from shared.lifecycle import cancel, retry
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import repairs, reports
from shared.store.database import connect, ensure_indexes
from shared.store.job_record import JobRecord, JobStatus
from shared.store.repairs import PlanStatus
from tests.database_faults import SECRET, Made, break_it, make_clean
from tests.database_snapshots import snapshot
from tests.integration.engine import Engine, engine_on
from tests.integration.test_database_repair import applied, planned
from workers.database.applying import apply_batch, applying, together
from workers.database.values import raw_documents

LARGE = 9 << 20
"""Bytes of a document that fits into a document of ours, but not beside itself as it will be."""


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as running:
        yield running


@pytest.fixture
def made(engine: Engine) -> Made:
    return make_clean(engine.db, documents=100)


def undone(engine: Engine, plan: JobRecord) -> JobRecord:
    return engine.drive(engine.submit("database_repair", undo=plan.id).id)


def status_of(engine: Engine, plan: JobRecord) -> PlanStatus:
    return repairs.get_plan(engine.db, plan.id).status


def codes(engine: Engine, job: JobRecord) -> set[str]:
    return {item.error.code for item in engine.items(job.id) if item.error}


def insert_out_of_range(made: Made, count: int, **more: Any) -> None:
    made.insert("audio_features", [made.track(made.users[0], f"loud{n}", energy=7, **more) for n in range(count)])


# Requests


@pytest.mark.parametrize(
    ("request_", "code"),
    [({"checks": ["out_of_rnage"]}, "unknown_check"), ({"collections": ["audio_faetures"]}, "no_such_collection")],
)
def test_what_there_is_not_makes_no_empty_plan(engine: Engine, made: Made, request_: Json, code: str) -> None:
    plan = planned(engine, **request_)

    assert plan.status is not JobStatus.SUCCEEDED
    assert code in codes(engine, plan)


# Documents


def test_a_change_that_the_server_refuses_keeps_no_other_from_being_made(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 40)
    user = made.users[0]
    made.insert("audio_features", [made.track(user, "7"), {**made.track(user, "number"), "trackId": 7}])
    before = snapshot(engine.db)

    plan = planned(engine)
    repair = applied(engine, plan)

    assert repair.status is JobStatus.SUCCEEDED, engine.items(repair.id)
    summary = repair.summary or {}
    assert (summary["applied"], summary["skipped"]) == (40, 1)
    assert any("11000" in note for note in summary["notes"])
    assert engine.db["audio_features"].count_documents({"energy": 7}) == 0
    assert undone(engine, plan).status is JobStatus.SUCCEEDED
    assert snapshot(engine.db) == before


VALUES: Json = {
    "negative zero": -0.0,
    "not a number": math.nan,
    "decimal": Decimal128("1.10"),
    "signalling": Decimal128("sNaN"),
    "wide": Int64(3),
    "far": DatetimeMS(2**60),
    "long ago": DatetimeMS(-(2**60)),
    "binary": Binary(b"\x00\xff", 128),
    "code": Code("return 1"),
    "reference": DBRef("users", "ada"),
    "pattern": Regex("^a", "i"),
    "stamp": Timestamp(5, 6),
    "": {"b": 1, "a": [None, {"z": 1, "y": 2.0}]},
    "dotted.name": 1,
}
IDS: list[Any] = [
    *(None, True, 1, Int64(2**40), 2.5, -0.0, math.inf, "text", "", {"b": 1, "a": Int64(2)}),
    *(b"bytes", Binary(b"user", 128), ObjectId(), datetime(1960, 1, 1, tzinfo=UTC), DatetimeMS(2**60)),
    *(Decimal128("7.70"), Timestamp(1, 2)),
]
"""Not NaN: the embedded server takes no document in the place of one of that id, so it is left alone."""


@pytest.mark.parametrize("fault", ["energy", "tempo", "createdAt"])
def test_whatever_a_document_holds_and_however_it_is_called_undo_is_byte_for_byte(engine: Engine, fault: str) -> None:
    """The faults: a text, a number that is none and can't be compared, a moment that no calendar in UTC has."""
    wrong = {"energy": "0.5", "tempo": Decimal128("sNaN"), "createdAt": "0001-01-01T00:00:00+14:00"}[fault]
    db = engine.db
    db["users"].insert_one({"_id": "u", "userId": "ada", "createdAt": datetime(2026, 1, 1, tzinfo=UTC)})
    good = {"userId": "ada", "danceability": 0.1, "energy": 0.1, "valence": 0.1}
    for n, own_id in enumerate(IDS):
        document = {"_id": own_id, "tags": VALUES, **good, "trackId": f"track{n}", fault: wrong, **VALUES}
        db["audio_features"].insert_one(document)
    before = snapshot(db)

    plan = planned(engine)
    repair = applied(engine, plan)

    assert plan.status is repair.status is JobStatus.SUCCEEDED, [*engine.items(plan.id), *engine.items(repair.id)]
    assert (repair.summary or {})["applied"] == len(IDS)
    for raw in raw_documents(db, "audio_features", {}):
        assert bson.encode(VALUES) in raw  # as it was, below `tags`
    assert undone(engine, plan).status is JobStatus.SUCCEEDED
    assert snapshot(db) == before


def test_a_document_of_half_the_greatest_size_is_repaired_and_undone(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 1, tags={"x" * LARGE: 0.5})
    before = snapshot(engine.db)

    plan = planned(engine, checks=["out_of_range"])
    repair = applied(engine, plan)

    assert repair.status is JobStatus.SUCCEEDED, engine.items(repair.id)
    assert engine.db["audio_features"].count_documents({"energy": 1.0, "trackId": "loud0"}) == 1
    assert undone(engine, plan).status is JobStatus.SUCCEEDED
    assert snapshot(engine.db) == before


def test_a_document_that_fills_a_document_is_left_alone_and_told_of(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 1, tags={"x" * (repairs.KEPT_BYTES_MAX + 1): 0.5})

    plan = planned(engine, checks=["out_of_range"])

    summary = plan.summary or {}
    assert (plan.status, summary["changes"]) == (JobStatus.SUCCEEDED, 0)
    assert ["too large" in note for note in summary["notes"]] == [True]


def test_secrets_in_names_go_those_in_ids_stay_and_our_own_records_are_not_touched(engine: Engine, made: Made) -> None:
    db = engine.db
    key = "AKIAABCDEFGHIJKLMNOP"
    db["notes"].insert_many(
        [{"_id": SECRET, "text": SECRET}, {"_id": 2, "text": "a", "keys": {key: 1, "[redacted]": 2}}]
    )
    db["jobs"].update_one({"_id": "job_clean0"}, {"$set": {"request": {"path": SECRET}}})
    before = snapshot(db)
    validation = engine.drive(engine.submit("database_validate").id)
    found = {one.collection: one for one in reports.findings_of(db, validation.id) if one.check == "secret_in_document"}
    assert (found["notes"].count, found["jobs"].count) == (2, 1)
    assert found["notes"].repair is not None
    assert found["jobs"].repair is None

    plan = planned(engine, checks=["secret_in_document"])
    repair = applied(engine, plan)

    assert repair.status is JobStatus.SUCCEEDED, engine.items(repair.id)
    assert db["notes"].find_one({"_id": SECRET}) == {"_id": SECRET, "text": "[redacted]"}
    assert db["notes"].find_one({"_id": 2}) == {"_id": 2, "text": "a", "keys": {"[redacted]_": 1, "[redacted]": 2}}
    assert (db["jobs"].find_one({"_id": "job_clean0"}) or {})["request"] == {"path": SECRET}
    assert undone(engine, plan).status is JobStatus.SUCCEEDED
    assert snapshot(db) == before


# Others


class ChangingBefore(monitoring.CommandListener):
    """Does something once, just before the first write of a collection is sent."""

    def __init__(self, collection: str, do: Callable[[], object]) -> None:
        self._collection = collection
        self._do: Callable[[], object] | None = do

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command.get(event.command_name) == self._collection and event.command_name in ("update", "delete"):
            do, self._do = self._do, None
            if do is not None:
                do()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note."""


@pytest.mark.parametrize("change", [{"energy": 7}, {"userId": "nobody"}], ids=["replaced", "set aside"])
def test_without_transactions_what_somebody_writes_at_the_same_moment_stays(
    engine: Engine, made: Made, settings: Settings, change: Json
) -> None:
    made.insert("audio_features", [{**made.track(made.users[0], "one"), **change}])
    plan = planned(engine)
    [page] = [page for shard in range(repairs.SHARDS) for page in repairs.changes_of(engine.db, plan.id, shard)]
    features = engine.db["audio_features"]
    touch = {"$set": {"warnings": ["of somebody"]}}
    listener = ChangingBefore("audio_features", lambda: features.update_one({"_id": page[0].target}, touch))
    db = connect(settings, listeners=[listener])

    with db.client:
        tally = apply_batch(db, page, None)

    assert (tally.done, tally.skipped) == (0, 1)
    found = features.find_one({"_id": page[0].target}) or {}
    assert (found["warnings"], {name: found[name] for name in change}) == (["of somebody"], change)


def test_what_came_in_under_a_unique_index_since_keeps_no_other_from_being_undone(engine: Engine, made: Made) -> None:
    users = engine.db["users"]
    users.drop_index("userId_1")
    twins = [made.user(name) for name in made.users[:5]]
    users.insert_many(twins)
    insert_out_of_range(made, 20)
    plan = planned(engine, checks=["duplicate", "out_of_range"])
    applied(engine, plan)
    ensure_indexes(engine.db)  # as the next start of the API does
    assert users.index_information()["userId_1"]["unique"]

    back = undone(engine, plan)

    assert back.status is JobStatus.SUCCEEDED, engine.items(back.id)
    assert (back.summary or {})["skipped"] == len(twins)
    assert engine.db["audio_features"].count_documents({"energy": 7}) == 20
    assert engine.db[repairs.QUARANTINE].count_documents({"plan": plan.id}) == len(twins)


def test_an_undo_that_failed_in_part_is_not_over_and_goes_on_with_a_retry(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 40)
    before = snapshot(engine.db)
    plan = planned(engine)
    applied(engine, plan)
    log = engine.db[repairs.UNDO]
    one = log.find_one({"plan": plan.id}) or {}
    log.update_one({"_id": one["_id"]}, {"$set": {"raw": "damaged"}})

    back = undone(engine, plan)

    assert back.status is JobStatus.PARTIAL
    assert "not_all_undone" in codes(engine, back)
    assert status_of(engine, plan) is PlanStatus.UNDOING
    log.replace_one({"_id": one["_id"]}, one)
    retry(engine.db, back.id)
    assert engine.drive(back.id).status is JobStatus.SUCCEEDED, engine.items(back.id)
    assert status_of(engine, plan) is PlanStatus.UNDONE
    assert snapshot(engine.db) == before


def begun(engine: Engine, plan: JobRecord) -> JobRecord:
    """Return a job that applies a plan and is still at it."""
    wanted = {"apply": True, "planId": plan.id, "planHash": (plan.summary or {})["planHash"]}
    job = engine.submit("database_repair", **wanted)
    while status_of(engine, plan) is not PlanStatus.APPLYING:
        engine.plan(job.id)
        engine.run()
    return engine.job(job.id)


def test_a_plan_that_is_being_applied_still_wants_its_hash_of_everybody(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 3)
    plan = planned(engine)
    first = begun(engine, plan)

    second = engine.drive(engine.submit("database_repair", apply=True, planId=plan.id, planHash="0" * 64).id)

    assert "not_approved" in codes(engine, second)
    assert status_of(engine, plan) is PlanStatus.APPLYING
    assert engine.drive(first.id).status is JobStatus.SUCCEEDED
    assert status_of(engine, plan) is PlanStatus.APPLIED


def test_nothing_is_undone_while_it_is_being_applied(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 3)
    before = snapshot(engine.db)
    plan = planned(engine)
    first = begun(engine, plan)

    assert "repair_at_work" in codes(engine, undone(engine, plan))
    assert status_of(engine, plan) is PlanStatus.APPLYING

    cancel(engine.db, first.id)
    engine.finish(first.id)
    assert undone(engine, plan).status is JobStatus.SUCCEEDED
    assert snapshot(engine.db) == before


def test_a_worker_that_wakes_up_behind_an_undo_changes_nothing(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 3)
    before = snapshot(engine.db)
    plan = planned(engine)
    pages = [(shard, page) for shard in range(repairs.SHARDS) for page in repairs.changes_of(engine.db, plan.id, shard)]
    applied(engine, plan)
    undone(engine, plan)

    for shard, page in pages:
        with pytest.raises(ItemFailed, match="undone or forgotten"):
            together(engine.db, page, applying(plan.id, shard))

    assert snapshot(engine.db) == before


def test_changes_that_came_to_a_plan_behind_its_hash_are_not_approved_with_it(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 2)
    plan = planned(engine)
    change = engine.db[repairs.CHANGES].find_one({"plan": plan.id}) or {}
    engine.db[repairs.CHANGES].insert_one({**change, "_id": f"{change['_id']}x"})
    before = snapshot(engine.db)

    repair = applied(engine, plan)

    assert "plan_changed" in codes(engine, repair)
    assert snapshot(engine.db) == before


def test_of_two_plans_for_the_same_documents_the_second_leaves_them_alone(engine: Engine, made: Made) -> None:
    insert_out_of_range(made, 5)
    before = snapshot(engine.db)
    first, second = planned(engine), planned(engine)
    applied(engine, first)
    after = snapshot(engine.db)

    # What the first has made is just what the second would: it has nothing to do, and nothing to undo.
    applied(engine, second)
    undone(engine, second)

    assert snapshot(engine.db) == after
    assert undone(engine, first).status is JobStatus.SUCCEEDED
    assert snapshot(engine.db) == before


def test_a_plan_of_many_changes_is_applied_to_the_last_one(engine: Engine, made: Made) -> None:
    many = 3 * repairs.SHARDS * repairs.BATCH // 2
    insert_out_of_range(made, many)
    before = snapshot(engine.db)

    plan = planned(engine, checks=["out_of_range"])
    repair = applied(engine, plan)

    assert (plan.summary or {})["changes"] == many
    assert ((repair.summary or {})["applied"], (repair.summary or {})["skipped"]) == (many, 0)
    assert engine.db["audio_features"].count_documents({"energy": 7}) == 0
    assert undone(engine, plan).status is JobStatus.SUCCEEDED
    assert snapshot(engine.db) == before


# Indexes


def test_an_index_that_somebody_else_has_built_meanwhile_outlives_the_undo(engine: Engine, made: Made) -> None:
    history = engine.db["listening_history"]
    history.drop_index("userId_1_playedAt_-1")
    plan = planned(engine, checks=["missing_index"])
    ensure_indexes(engine.db)
    before = snapshot(engine.db)

    repair = applied(engine, plan)
    undone(engine, plan)

    assert any("not as it was" in note for note in (repair.summary or {})["notes"])
    assert snapshot(engine.db) == before


def test_an_index_that_is_another_one_by_now_is_not_dropped(engine: Engine, made: Made) -> None:
    tips = engine.db["recommendations"]
    tips.create_index([("userId", 1)], name="mine")
    plan = planned(engine, checks=["redundant_index"])
    assert (plan.summary or {})["changes"] == 1
    tips.drop_index("mine")
    tips.create_index([("score", 1)], name="mine")

    applied(engine, plan)

    assert tips.index_information()["mine"]["key"] == [("score", 1)]


def test_an_index_with_an_order_of_its_own_is_the_beginning_of_none(engine: Engine, made: Made) -> None:
    ordered = IndexModel([("userId", 1)], name="ordered", collation=Collation(locale="en", strength=2))
    engine.db["recommendations"].create_indexes([ordered])

    assert (planned(engine, checks=["redundant_index"]).summary or {})["changes"] == 0


def test_an_index_that_can_not_be_built_again_is_told_of_and_the_rest_is_undone(engine: Engine) -> None:
    break_it(make_clean(engine.db, documents=400))
    tips = engine.db["recommendations"]
    plan = planned(engine)
    applied(engine, plan)
    tips.create_index([("score", 1)], name="userId_1")

    back = undone(engine, plan)

    assert back.status is JobStatus.SUCCEEDED, engine.items(back.id)
    assert any("userId_1" in note for note in (back.summary or {})["notes"])
    assert status_of(engine, plan) is PlanStatus.UNDONE
