"""The `database_reports` and `database_findings` collections: what each validation of a library has found."""

from __future__ import annotations

from collections.abc import Sequence

from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne

from shared.errors import ReportNotFound
from shared.findings import Finding, Report
from shared.model import Db

COLLECTION = "database_reports"
FINDINGS = "database_findings"
KEPT = 100
"""So many reports of an owner are kept."""


def ensure_indexes(db: Db) -> None:
    """Create the indexes of these collections."""
    db[COLLECTION].create_indexes([IndexModel([("createdAt", DESCENDING)])])
    db[FINDINGS].create_indexes([IndexModel([("jobId", ASCENDING)])])


def save(db: Db, report: Report, findings: Sequence[Finding]) -> None:
    """Store a report in place of the one that this job had before, findings first; the oldest reports go."""
    kept = {one.id for one in findings}
    stale = [one["_id"] for one in db[FINDINGS].find({"jobId": report.id}, {"_id": 1}) if one["_id"] not in kept]
    if stale:
        db[FINDINGS].delete_many({"_id": {"$in": stale}})
    if findings:
        db[FINDINGS].bulk_write([ReplaceOne({"_id": one.id}, one.to_document(), upsert=True) for one in findings])
    db[COLLECTION].replace_one({"_id": report.id}, report.to_document(), upsert=True)
    _forget_oldest(db)


def _forget_oldest(db: Db) -> None:
    newest_first = db[COLLECTION].find({}, {"_id": 1}).sort("createdAt", DESCENDING)
    for one in list(newest_first)[KEPT:]:
        db[FINDINGS].delete_many({"jobId": one["_id"]})
        db[COLLECTION].delete_one({"_id": one["_id"]})


def get(db: Db, job_id: str) -> Report:
    """Return the report of a job. Raises `ReportNotFound`."""
    document = db[COLLECTION].find_one({"_id": job_id})
    if document is None:
        raise ReportNotFound(f"There is no report of a job {job_id!r}.")
    return Report.from_document(document)


def findings_of(db: Db, job_id: str) -> list[Finding]:
    """Return what a job has found, the gravest first, then by name."""
    order = ("critical", "high", "medium", "low", "info")
    found = [Finding.from_document(one) for one in db[FINDINGS].find({"jobId": job_id})]
    return sorted(found, key=lambda one: (order.index(one.severity.value), one.collection, one.check))


def before(db: Db, job_id: str) -> Report | None:
    """Return the newest report besides that of this job, or None."""
    newest = db[COLLECTION].find({}).sort("createdAt", DESCENDING).limit(2)
    return next((Report.from_document(one) for one in newest if one["_id"] != job_id), None)
