"""Validation and approval at the front doors: jobs, reports in three forms, and nobody else's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest

from shared.access import Scope
from shared.model import Db
from shared.settings import Settings
from shared.store import jobs, reports
from shared.store.database import library
from shared.store.job_record import JobStatus
from tests.database_faults import break_it, make_clean
from tests.holders import client_of, give_key
from tests.integration.engine import Engine, engine_on
from tests.integration.test_database_repair import drive_to_question
from tests.waiting import wait_until

NASTY = "<script>alert(1)</script>|`x`"


@pytest.fixture
def engine(db: Db, settings: Settings) -> Iterator[Engine]:
    with engine_on(db, settings) as running:
        yield running


class _Tags(HTMLParser):
    """Keeps the names of all tags."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


def test_a_validation_is_a_job_and_its_report_comes_in_three_forms(api: httpx.Client, engine: Engine) -> None:
    break_it(make_clean(engine.db, documents=300))
    engine.db["audio_features"].update_one({"trackId": "track1"}, {"$set": {NASTY: 1}})

    submitted = api.get("/api/database/validation", params={"deep": True})

    assert submitted.status_code == 202
    job_id = submitted.json()["id"]
    assert submitted.headers["location"] == f"/api/jobs/{job_id}"
    engine.drive(job_id)
    report = api.get(f"/api/database/reports/{job_id}").json()
    assert report["summary"]["overall_health"] == "critical"
    assert report["summary"]["total_issues"] > 10
    assert set(report) >= {"schema", "data_integrity", "performance", "security", "summary"}
    metrics = report["performance"]["metrics"]["audio_features"]
    assert {"documents", "size_bytes", "avg_obj_size", "indexes", "total_index_size"} <= set(metrics)
    markdown = api.get(f"/api/database/reports/{job_id}", params={"format": "markdown"})
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert "<script>" not in markdown.text
    page = api.get(f"/api/database/reports/{job_id}", params={"format": "html"})
    tags = _Tags()
    tags.feed(page.text)
    assert "svg" in tags.seen
    assert not tags.seen & {"script", "link", "img", "iframe", "object"}
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_who_waits_gets_the_report(api: httpx.Client, engine: Engine) -> None:
    def work() -> None:
        wait_until(lambda: engine.db["jobs"].find_one({"kind": "database_validate"}), what="the job")
        engine.drive(str((engine.db["jobs"].find_one({"kind": "database_validate"}) or {})["_id"]))

    worker = threading.Thread(target=work)
    worker.start()
    answer = api.get("/api/database/validation", headers={"Prefer": "wait=20"}, timeout=30)
    worker.join()

    assert answer.status_code == 200
    assert answer.json()["summary"]["overall_health"] == "healthy"


def test_a_second_run_is_compared_with_the_first(engine: Engine) -> None:
    make_clean(engine.db, documents=300)
    engine.db["users"].insert_many([{"_id": n, "userId": f"undated{n}"} for n in range(2)])
    engine.db["recommendations"].update_one({}, {"$set": {"score": 7}})
    engine.drive(engine.submit("database_validate").id)
    engine.db["users"].insert_one({"_id": 2, "userId": "undated2"})
    engine.db["recommendations"].update_one({"score": 7}, {"$set": {"score": 0.5}})
    engine.db["listening_history"].update_one({}, {"$unset": {"playedAt": ""}})

    second = engine.drive(engine.submit("database_validate").id)

    changes = {one.check + one.collection: one.change for one in reports.findings_of(engine.db, second.id)}
    assert changes["missing_requiredusers"] == "grown"
    assert changes["missing_requiredlistening_history"] == "new"
    assert second.summary is not None
    assert (second.summary["new"], second.summary["grown"], second.summary["gone"]) == (1, 1, 1)


def test_one_owner_never_looks_into_the_library_of_another(api: httpx.Client, engine: Engine, db: Db) -> None:
    make_clean(db, documents=300)
    db["users"].insert_one({"_id": "undated", "userId": "undated"})
    with client_of(give_key(db, "beta"), api.base_url) as beta:
        job_id = beta.get("/api/database/validation").json()["id"]
        engine.drive(job_id)
        report = beta.get(f"/api/database/reports/{job_id}").json()
        assert report["summary"]["total_issues"] == 0
        assert "jobs" not in report["performance"]["metrics"]
        assert api.get(f"/api/database/reports/{job_id}").status_code == 404
    db.client.drop_database(library(db, "beta").name)


def test_the_doors_want_the_scope_of_databases(api: httpx.Client, db: Db) -> None:
    holder = give_key(db, "local", scopes=(Scope.JOBS_READ, Scope.JOBS_WRITE))
    nightly = {"name": "n", "kind": "database_repair", "request": {}, "cron": "0 2 * * *"}
    with client_of(holder, api.base_url) as client:
        assert client.post("/api/jobs/database_validate", json={}).status_code == 403
        assert client.post("/api/jobs/database_repair", json={}).status_code == 403
        assert client.get("/api/database/validation").status_code == 403
        assert client.post("/api/schedules", json=nightly).status_code == 403


def test_a_waiting_repair_is_approved_by_its_hash(api: httpx.Client, engine: Engine) -> None:
    make_clean(engine.db, documents=300)
    engine.db["users"].insert_one({"_id": "undated", "userId": "undated"})
    job = drive_to_question(engine, engine.submit("database_repair", apply=True).id)
    plan_hash = (engine.db["repair_plans"].find_one({"_id": job.id}) or {})["hash"]
    assert api.get(f"/api/jobs/{job.id}").json()["status"] == "waiting_input"

    assert api.post(f"/api/jobs/{job.id}/approve", json={"planHash": "0"}).json()["code"] == "wrong_plan"
    assert api.post(f"/api/jobs/{job.id}/approve", json={"planHash": plan_hash}).status_code == 202

    assert engine.drive(job.id).status is JobStatus.SUCCEEDED
    assert jobs.get(engine.db, job.id).summary is not None
    assert api.post(f"/api/jobs/{job.id}/approve", json={"planHash": plan_hash}).json()["code"] == "nothing_asked"
