"""Validation finds exactly what is wrong with a database, and nothing where nothing is."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from pymongo import IndexModel, MongoClient
from pymongo.errors import NetworkTimeout

from shared.findings import CollectionFigures, Finding, NotChecked, Tally
from shared.items import ItemStatus
from shared.jobs.database_validate import Item, Part, Request
from shared.jobs.job import JobContext
from shared.model import Db, Json
from shared.settings import Settings
from shared.store import reports
from shared.store.job_record import JobRecord, JobStatus
from tests.database_faults import SECRET, START, Faults, break_it, make_clean
from tests.integration.engine import Engine, engine_on
from workers.database.checks import ALL
from workers.database.checks.check import Scene
from workers.database.checks.collections import ServersValidate
from workers.database.checks.performance import SMALL_DATA, recommendations
from workers.database.validation import scene_of, validate

DOCUMENTS = 1200
OF_THE_SERVER = {("open_on_loopback", "")}
"""What is true of the tests' server."""
ENTRY = {"indexName": "text_1", "recordId": 1, "idKey": {"_id": 1}, "indexKey": {"text": "a"}}


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as running:
        yield running


def validated(engine: Engine, **request: object) -> tuple[JobRecord, list[Finding]]:
    job = engine.drive(engine.submit("database_validate", **request).id)
    assert job.status is JobStatus.SUCCEEDED, engine.items(job.id)
    return job, reports.findings_of(engine.db, job.id)


def counted(found: list[Finding]) -> Faults:
    return Counter(
        {(one.check, one.collection): one.count for one in found if (one.check, one.collection) not in OF_THE_SERVER}
    )


def test_a_clean_database_has_no_finding(engine: Engine) -> None:
    make_clean(engine.db, documents=DOCUMENTS)

    job, found = validated(engine)

    assert counted(found) == Counter()
    assert job.summary is not None
    assert job.summary["overallHealth"] == "healthy"
    assert job.summary["healthScore"] == 100.0


def test_every_fault_is_found_and_counted(engine: Engine) -> None:
    made = make_clean(engine.db, documents=DOCUMENTS)
    faults = break_it(made)

    job, found = validated(engine)

    assert counted(found) == faults
    assert job.summary is not None
    assert job.summary["overallHealth"] == "critical"
    report = reports.get(engine.db, job.id)
    for name in ("users", "audio_features", "listening_history", "recommendations", "fs.chunks"):
        assert report.collections[name].documents == engine.db[name].count_documents({})


def test_every_check_that_can_fail_here_has_a_fault_in_the_generator(engine: Engine) -> None:
    """What is about the server, or about sizes beyond a test's, is tested by itself."""
    elsewhere = {"server_validate", "unused_index", "proportions", "slow_operations"}
    faults = break_it(make_clean(engine.db, documents=DOCUMENTS))

    assert {check for check, _ in faults} >= {one.id for one in ALL if one.cost != "metadata"} - elsewhere


def test_a_collection_that_somebody_has_dropped_is_missing(engine: Engine) -> None:
    make_clean(engine.db, documents=100)
    engine.db.drop_collection("ratings")

    _, found = validated(engine)

    assert counted(found) == Counter({("missing_collection", "ratings"): 1})


def test_a_collection_that_there_is_not_is_not_checked(engine: Engine) -> None:
    make_clean(engine.db, documents=100)

    job, found = validated(engine, collections=["audio_faetures"])

    assert counted(found) == Counter()
    [said] = [one for one in reports.get(engine.db, job.id).not_checked if one.collection == "audio_faetures"]
    assert said.why == "there is no such collection"


def test_what_the_run_before_did_not_look_at_is_neither_new_nor_gone(engine: Engine) -> None:
    break_it(make_clean(engine.db, documents=DOCUMENTS))
    validated(engine, collections=["users"])
    engine.db["users"].delete_many({"createdAt": {"$exists": False}})

    job, found = validated(engine, collections=["users", "recommendations"])

    assert {one.change for one in found if one.collection == "recommendations"} == {"first"}
    assert job.summary is not None
    assert (job.summary["new"], job.summary["gone"]) == (0, 1)
    job, _ = validated(engine, collections=["users"])
    assert job.summary is not None
    assert (job.summary["new"], job.summary["gone"]) == (0, 0)


def test_numbers_and_names_that_nobody_expects_keep_nothing_from_being_looked_at(engine: Engine) -> None:
    made = make_clean(engine.db, documents=100)
    long = "x" * 10_000
    odd: list[Json] = [{"tempo": Decimal128("sNaN"), "valence": math.nan}, {"createdAt": DatetimeMS(2**60)}]
    odd += [{long: 1}, {"": 1, "$a": 1}]
    made.insert("audio_features", [made.track(made.users[0], f"odd{n}", **one) for n, one in enumerate(odd)])
    made.insert("audio_features", [made.track(made.users[0], "named", energy=7) | {"_id": long}])

    _, found = validated(engine)

    expected = {"out_of_range": 2, "future_date": 1, "unknown_field": 2}
    assert counted(found) == Counter({(name, "audio_features"): count for name, count in expected.items()})
    written = [text for one in found for text in (*one.examples, *one.fields)]
    assert max(map(len, written)) < 300


def test_no_report_holds_a_secret(engine: Engine) -> None:
    break_it(make_clean(engine.db, documents=DOCUMENTS))

    job, _ = validated(engine)

    written = str(list(engine.db[reports.FINDINGS].find())) + str(engine.items(job.id)) + str(job.summary)
    assert SECRET not in written
    assert "AKIA" not in written


def test_the_servers_own_look_at_its_files_is_taken_where_it_is_asked_for(engine: Engine) -> None:
    make_clean(engine.db, documents=100)

    usual, _ = validated(engine, collections=["users"])
    deep, found = validated(engine, collections=["users"], deep=True)

    not_checked = {one.check: one.why for one in reports.get(engine.db, usual.id).not_checked}
    assert "asked for by `deep` only" in not_checked["server_validate"]
    report = reports.get(engine.db, deep.id)
    assert "server_validate" in report.checks
    assert "server_validate" not in {one.check for one in report.not_checked}
    assert "server_validate" not in {one.check for one in found}


def test_a_collection_that_the_server_will_not_validate_is_not_checked(engine: Engine) -> None:
    [said] = ServersValidate().look(scene(engine, "absent", deep=True))

    assert isinstance(said, NotChecked)
    assert said.why == "the server does not validate it (code 26)"


def scene(engine: Engine, collection: str, *, deep: bool) -> Scene:
    job = engine.submit("database_validate", deep=deep)
    context = JobContext.of(job, engine.db, engine.settings)
    return scene_of(context, collection, query={}, request=Request(deep=deep))


@pytest.mark.parametrize(
    ("told", "count", "note"),
    [
        ({}, 0, None),
        ({"nNonCompliantDocuments": 3, "warnings": ["Detected one or more documents not compliant"]}, 0, None),
        ({"valid": False, "errors": ["Detected 2 invalid documents"], "nInvalidDocuments": 2}, 2, "Detected 2"),
        (
            {"valid": False, "errors": ["Detected 1 missing index entries."], "missingIndexEntries": [ENTRY]},
            1,
            "Detect",
        ),
        ({"valid": False, "corruptRecords": [7, 9], "extraIndexEntries": [ENTRY]}, 3, None),
        ({"valid": False, "indexDetails": {"_id_": {"valid": True}, "text_1": {"valid": False}}}, 1, "index text_1"),
        ({"valid": False}, 1, None),
    ],
)
def test_damage_that_the_server_tells_of_becomes_a_finding(
    engine: Engine, told: Json, count: int, note: str | None
) -> None:
    """No server of ours can be made to tell of damage, so its answer is put together from the manual's."""
    engine.db["texts"].insert_one({"text": "a"})
    engine.db["texts"].create_index("text")
    answer = {**engine.db.command("validate", "texts"), **told}
    answering: Any = SimpleNamespace(command=lambda *_: answer)

    [tally] = ServersValidate().look(dataclasses.replace(scene(engine, "texts", deep=True), db=answering))

    assert isinstance(tally, Tally)
    assert (tally.check, tally.collection, tally.count) == ("server_validate", "texts", count)
    assert (tally.note or "").startswith(note or "")
    assert bool(tally.note) == bool(note)


def test_a_look_through_a_whole_collection_may_take_longer_than_an_operation(engine: Engine) -> None:
    engine.db["users"].insert_many([{"userId": f"user{n}", "createdAt": START} for n in range(20_000)])
    engine.db["users"].drop_indexes()  # so that duplicates have to be looked for
    job = engine.submit("database_validate")
    with MongoClient[dict[str, Any]](engine.settings.mongodb_uri, tz_aware=True, socketTimeoutMS=20) as hasty:
        db = hasty.get_database(engine.db.name)
        grouped = [{"$group": {"_id": {"user": "$userId"}, "documents": {"$sum": 1}}}]
        with pytest.raises(NetworkTimeout):
            list(db["users"].aggregate(grouped))
        item = Item(part=Part.COLLECTION, collection="users")

        [outcome] = validate(Request(), [item], JobContext.of(job, db, engine.settings))

    assert outcome.status is ItemStatus.SUCCEEDED


def test_indexes_that_queries_rely_on_are_never_out_of_proportion(engine: Engine) -> None:
    made = make_clean(engine.db, documents=DOCUMENTS)
    owner, tips = made.users[0], 12_000
    made.insert("audio_features", [made.track(owner, "known")])
    made.insert("recommendations", [made.tip(owner, "known", jobId=f"job{n}") for n in range(tips)])
    stats = engine.db.command("collStats", "recommendations")
    assert stats["totalIndexSize"] > stats["size"] > SMALL_DATA

    _, found = validated(engine)

    assert counted(found) == Counter()


def test_indexes_that_nobody_is_known_to_need_are_told_of_when_they_outgrow_the_data(engine: Engine) -> None:
    engine.db["cache"].create_indexes([IndexModel([("key", 1), (f"part{n}", 1)]) for n in range(8)])
    engine.db["cache"].insert_many([{"key": f"{n:0100}"} for n in range(9000)])

    _, found = validated(engine)

    assert counted(found) == {("proportions", "cache"): 1}


@pytest.mark.parametrize(("is_known", "told"), [(False, 1), (True, 0)])
def test_many_documents_with_few_indexes_are_told_of_where_nothing_is_known_of_queries(
    *, is_known: bool, told: int
) -> None:
    figures = CollectionFigures(size_bytes=10_000_000, avg_obj_size=100.0, indexes=2, total_index_size=1)

    assert len(list(recommendations("c", 100_001, figures, is_known=is_known, surplus_bytes=0))) == told
