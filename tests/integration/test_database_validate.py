"""Validation finds exactly what is wrong with a database, and nothing where nothing is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from pymongo import IndexModel

from shared.findings import CollectionFigures, Finding
from shared.model import Db
from shared.settings import Settings
from shared.store import reports
from shared.store.job_record import JobRecord, JobStatus
from tests.database_faults import SECRET, Faults, break_it, make_clean
from tests.integration.engine import Engine, engine_on
from workers.database.checks import ALL
from workers.database.checks.performance import SMALL_DATA, recommendations

DOCUMENTS = 1200
OF_THE_SERVER = {("open_on_loopback", "")}
"""What is true of the tests' server."""


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


def test_no_report_holds_a_secret(engine: Engine) -> None:
    break_it(make_clean(engine.db, documents=DOCUMENTS))

    job, _ = validated(engine)

    written = str(list(engine.db[reports.FINDINGS].find())) + str(engine.items(job.id)) + str(job.summary)
    assert SECRET not in written
    assert "AKIA" not in written


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
