"""Repair: a plan that changes nothing, changes that are exactly the plan's, and an undo to the last byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from shared import lifecycle
from shared.errors import NothingAsked, WrongPlan
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import jobs, questions, repairs
from shared.store.job_record import JobRecord, JobStatus
from shared.store.repairs import PlanStatus
from tests.database_faults import SECRET, break_it, make_clean
from tests.database_snapshots import snapshot
from tests.integration.engine import Engine, engine_on
from tests.integration.test_database_validate import counted, validated
from workers.database.checks import ALL

DOCUMENTS = 1200
BY_HAND = {check.id for check in ALL if check.repair is None}


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as running:
        yield running


@pytest.fixture
def broken(engine: Engine) -> Engine:
    break_it(make_clean(engine.db, documents=DOCUMENTS))
    return engine


def planned(engine: Engine, **request: object) -> JobRecord:
    return engine.drive(engine.submit("database_repair", **request).id)


def applied(engine: Engine, plan: JobRecord) -> JobRecord:
    assert plan.summary is not None
    wanted = {"apply": True, "planId": plan.id, "planHash": plan.summary["planHash"]}
    return engine.drive(engine.submit("database_repair", **wanted).id)


def drive_to_question(engine: Engine, job_id: str) -> JobRecord:
    """Move a job on until it waits for an answer."""
    for _ in range(1000):
        if engine.job(job_id).status is JobStatus.WAITING_INPUT:
            return engine.job(job_id)
        engine.plan(job_id)
        engine.run()
    raise AssertionError("it never asked")


def test_a_plan_changes_nothing(broken: Engine) -> None:
    before = snapshot(broken.db)

    plan = planned(broken)

    assert plan.status is JobStatus.SUCCEEDED, broken.items(plan.id)
    assert snapshot(broken.db) == before
    assert plan.summary is not None
    assert plan.summary["changes"] > 0
    assert plan.summary["status"] == "planned"


def test_the_same_data_gives_the_same_plan(broken: Engine) -> None:
    first, second = planned(broken), planned(broken)

    def content(plan: str) -> list[tuple[str, str, str]]:
        found = broken.db[repairs.CHANGES].find({"plan": plan})
        return sorted((one["_id"].removeprefix(plan), one["action"], one["before"]) for one in found)

    assert content(first.id) == content(second.id)


def test_after_a_repair_only_what_is_seen_to_by_hand_is_left_and_undo_is_byte_for_byte(broken: Engine) -> None:
    before = snapshot(broken.db)
    _, found = validated(broken)
    faults = counted(found)

    repair = applied(broken, planned(broken))

    assert repair.status is JobStatus.SUCCEEDED, broken.items(repair.id)
    _, left = validated(broken)
    assert counted(left) == Counter({key: n for key, n in faults.items() if key[0] in BY_HAND})

    assert repair.summary is not None
    undone = broken.drive(broken.submit("database_repair", undo=repair.summary["planId"]).id)

    assert undone.status is JobStatus.SUCCEEDED, broken.items(undone.id)
    assert snapshot(broken.db) == before
    assert broken.db[repairs.QUARANTINE].count_documents({}) == 0
    _, again = validated(broken)
    assert counted(again) == faults


def test_nothing_is_lost(broken: Engine) -> None:
    before = snapshot(broken.db).documents

    applied(broken, planned(broken))

    after = snapshot(broken.db).documents
    gone = {(name, key) for name, found in before.items() for key in found if key not in after[name]}
    aside = list(broken.db[repairs.QUARANTINE].find())
    assert len(aside) == len(gone) > 0
    assert {bytes(one["raw"]) for one in aside} == {before[name][key] for name, key in gone}


def test_of_duplicates_the_best_is_kept(engine: Engine) -> None:
    users = engine.db["users"]
    made = make_clean(engine.db, documents=100)
    users.drop_index("userId_1")
    poor = users.insert_one({"_id": 1, **without_id(made.user("twice"))}).inserted_id
    rich = users.insert_one({"_id": 2, **without_id(made.user("twice", lastProcessed=made.moment()))}).inserted_id

    repair = applied(engine, planned(engine, checks=["duplicate", "missing_index"]))

    assert repair.status is JobStatus.SUCCEEDED
    assert [one["_id"] for one in users.find({"userId": "twice"})] == [rich]
    assert engine.db[repairs.QUARANTINE].find_one({"target": poor}) is not None
    assert users.index_information()["userId_1"]["unique"]


def without_id(document: Json) -> Json:
    return {name: value for name, value in document.items() if name != "_id"}


def test_an_applying_repair_waits_for_its_approval(broken: Engine) -> None:
    before = snapshot(broken.db)
    job = drive_to_question(broken, broken.submit("database_repair", apply=True).id)
    plan = repairs.get_plan(broken.db, job.id)
    assert snapshot(broken.db) == before
    with pytest.raises(WrongPlan):
        lifecycle.approve(broken.db, job.id, "0" * 64)

    lifecycle.approve(broken.db, job.id, plan.hash)

    ended = broken.drive(job.id)
    assert ended.status is JobStatus.SUCCEEDED, broken.items(job.id)
    assert repairs.get_plan(broken.db, job.id).status is PlanStatus.APPLIED
    with pytest.raises(NothingAsked):
        lifecycle.approve(broken.db, job.id, plan.hash)


def test_a_declined_repair_changes_nothing(broken: Engine) -> None:
    before = snapshot(broken.db)
    job = drive_to_question(broken, broken.submit("database_repair", apply=True).id)

    lifecycle.answer(broken.db, job.id, "approve", {"action": "decline"})

    assert broken.drive(job.id).status is JobStatus.PARTIAL
    assert snapshot(broken.db) == before
    assert repairs.get_plan(broken.db, job.id).status is PlanStatus.REFUSED


def test_a_waiting_repair_can_be_cancelled(broken: Engine) -> None:
    job = drive_to_question(broken, broken.submit("database_repair", apply=True).id)

    lifecycle.cancel(broken.db, job.id)

    broken.finish(job.id)
    assert jobs.get(broken.db, job.id).status is JobStatus.CANCELLED


def test_a_document_that_was_changed_since_is_left_alone(broken: Engine) -> None:
    plan = planned(broken, checks=["out_of_range"])
    change = broken.db[repairs.CHANGES].find_one({"plan": plan.id, "collection": "audio_features"})
    assert change is not None
    broken.db["audio_features"].update_one({"_id": change["target"]}, {"$set": {"warnings": ["new"]}})
    changed = broken.db["audio_features"].find_one({"_id": change["target"]})

    repair = applied(broken, plan)

    assert repair.summary is not None
    assert repair.summary["skipped"] == 1
    assert str(broken.db["audio_features"].find_one({"_id": change["target"]})) == str(changed)


def test_nothing_is_applied_when_too_much_has_changed(broken: Engine) -> None:
    plan = planned(broken, checks=["out_of_range"])
    broken.db["audio_features"].update_many({}, {"$set": {"warnings": ["new"]}})
    before = snapshot(broken.db)

    repair = applied(broken, plan)

    assert repair.status is JobStatus.FAILED
    assert snapshot(broken.db) == before
    assert {item.error.code for item in broken.items(repair.id) if item.error} == {"data_changed", "not_approved"}


def test_a_repair_is_undone_by_the_job_that_applied_it(broken: Engine) -> None:
    before = snapshot(broken.db)
    plan = planned(broken)
    repair = applied(broken, plan)

    undone = broken.drive(broken.submit("database_repair", undo=repair.id).id)

    assert undone.status is JobStatus.SUCCEEDED, broken.items(undone.id)
    assert undone.summary is not None
    assert (undone.summary["planId"], undone.summary["status"]) == (plan.id, "undone")
    assert snapshot(broken.db) == before


def test_a_forgotten_repair_leaves_nothing_behind_and_is_not_undone(broken: Engine) -> None:
    plan = planned(broken)
    assert plan.summary is not None
    plan_hash = plan.summary["planHash"]
    applied(broken, plan)
    kept = broken.db[repairs.UNDO].count_documents({})
    assert SECRET.encode() in b"".join(bytes(one["raw"]) for one in broken.db[repairs.UNDO].find())

    refused = broken.drive(broken.submit("database_repair", forget=plan.id, planHash="0" * 64).id)
    assert refused.status is JobStatus.FAILED
    assert broken.db[repairs.UNDO].count_documents({}) == kept

    forgotten = broken.drive(broken.submit("database_repair", forget=plan.id, planHash=plan_hash).id)

    assert forgotten.status is JobStatus.SUCCEEDED, broken.items(forgotten.id)
    assert (forgotten.summary or {})["forgotten"] > kept
    for name in (repairs.CHANGES, repairs.UNDO, repairs.QUARANTINE):
        assert broken.db[name].count_documents({}) == 0
    after = snapshot(broken.db)
    undone = broken.drive(broken.submit("database_repair", undo=plan.id).id)
    assert undone.status is JobStatus.FAILED
    assert snapshot(broken.db) == after


def test_a_plan_that_takes_secrets_out_says_where_they_are_kept_until_they_are_forgotten(broken: Engine) -> None:
    secrets = planned(broken, checks=["secret_in_document"])
    others = planned(broken, checks=["out_of_range"])
    assert secrets.summary is not None
    assert others.summary is not None
    [warning] = secrets.summary["notes"]
    assert f"backline database forget {secrets.id}" in warning
    assert others.summary["notes"] == []

    asking = drive_to_question(broken, broken.submit("database_repair", checks=["secret_in_document"], apply=True).id)
    [question] = questions.open_questions(broken.db, asking.id)
    assert f"backline database forget {asking.id}" in question.message

    repair = applied(broken, secrets)
    assert warning in (repair.summary or {})["notes"]
    forgetting = {"forget": secrets.id, "planHash": secrets.summary["planHash"]}
    forgotten = broken.drive(broken.submit("database_repair", **forgetting).id)
    assert (forgotten.summary or {})["notes"] == []


def test_changes_are_worked_on_in_batches_that_are_bounded_by_bytes(engine: Engine) -> None:
    made = make_clean(engine.db, documents=100)
    large = [made.track(made.users[0], f"large{n}", tags={"x" * 1_500_000: 0.5}, energy=7) for n in range(5)]
    made.insert("audio_features", large)
    plan = planned(engine, checks=["out_of_range"])

    shards = (*range(repairs.SHARDS), repairs.INDEX_SHARD)
    pages = [page for shard in shards for page in repairs.changes_of(engine.db, plan.id, shard)]
    assert sum(map(len, pages)) == len(large)
    assert [len(page) for page in pages] == [1] * len(large)

    assert applied(engine, plan).status is JobStatus.SUCCEEDED
    assert engine.db["audio_features"].count_documents({"energy": 1.0, "trackId": {"$regex": "^large"}}) == len(large)
