"""What a look through a database has found: findings, a score of its health, and how it differs from the last look."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from shared.model import Body, Json, Record

FIELDS_MAX = 20


class Severity(StrEnum):
    """How much a finding matters."""

    CRITICAL = "critical"  # data is lost, or open to anybody
    HIGH = "high"  # answers are wrong
    MEDIUM = "medium"  # answers may be wrong
    LOW = "low"  # it costs time or space, or will one day
    INFO = "info"  # worth knowing; no issue


PENALTIES: Mapping[Severity, float] = {
    Severity.CRITICAL: 25.0,
    Severity.HIGH: 10.0,
    Severity.MEDIUM: 4.0,
    Severity.LOW: 1.0,
    Severity.INFO: 0.0,
}
"""What a finding of each severity takes off the health score where it concerns a whole collection."""

CRITICAL_ISSUES = 10
"""With so many issues a database is called critical, whatever they are: EchoTune's rule."""


class Tally(Body):
    """How often a check has failed in one part of a collection."""

    check: str
    collection: str = Field(description="Empty for what concerns the whole database or its server")
    count: int = Field(ge=0)
    examples: tuple[str, ...] = Field(default=(), description="Ids, as relaxed extended JSON, never contents")
    fields: dict[str, int] = Field(default_factory=dict, description="How often in which field")
    note: str | None = Field(default=None, description="What was found, in words")

    def plus(self, other: Tally, examples_max: int) -> Tally:
        """Return both as one."""
        names = list(dict.fromkeys((*self.fields, *other.fields)))[:FIELDS_MAX]
        fields = {name: self.fields.get(name, 0) + other.fields.get(name, 0) for name in names}
        examples = tuple(dict.fromkeys((*self.examples, *other.examples)))[:examples_max]
        note = self.note or other.note
        return self.model_copy(
            update={"count": self.count + other.count, "examples": examples, "fields": fields, "note": note}
        )


class NotChecked(Body):
    """What could not be looked at: neither passed nor failed."""

    check: str
    collection: str = ""
    why: str


class CheckInfo(Body):
    """What a check is, as its class says."""

    id: str
    title: str
    group: str
    severity: Severity
    why: str = Field(description="Why a failure matters")
    repair: str | None = Field(description="How it is repaired; null where it has to be seen to by hand")
    advice: str | None = Field(default=None, description="What to do by hand")
    cost: str = Field(description="What it costs: scan, lookup, group or metadata")


class Finding(Record):
    """A check that failed in a collection."""

    id: str = Field(alias="_id")  # job:check:collection
    job_id: str
    check: str
    title: str
    group: str
    severity: Severity
    collection: str
    count: int
    share: float | None = None  # of the collection's documents
    examples: tuple[str, ...] = ()
    fields: dict[str, int] = Field(default_factory=dict)
    note: str | None = None
    why: str
    repair: str | None = None
    advice: str | None = None
    change: str = "new"  # since the run before: new, grown, smaller, same; "first" where there was none
    before: int | None = None

    @property
    def is_issue(self) -> bool:
        """Whether it counts as an issue, or is only worth knowing."""
        return self.severity is not Severity.INFO


class CollectionFigures(Record):
    """What a collection holds and costs."""

    documents: int = 0  # looked at
    size_bytes: int | None = None
    avg_obj_size: float | None = None
    indexes: int | None = None
    total_index_size: int | None = None
    seconds: float = 0.0  # of work on it, over all workers


class Quality(Record):
    """How good the data is, each 0..1; null where there is nothing to say it of."""

    completeness: float | None = None
    consistency: float | None = None
    validity: float | None = None
    accuracy: float | None = None


QUALITY_FORMULAS: Mapping[str, str] = {
    "completeness": "1 - (documents that lack a required field / documents of the collections with a known form)",
    "validity": "1 - (documents with a wrong type, a value out of range, a date in the future or a breach of the"
    " collection's own schema / documents of the collections with a known form); a document counts once a check",
    "consistency": "1 - (duplicates, orphans, dangling references, contradicting dates and totals / documents of the"
    " collections with a known form)",
    "accuracy": "mean confidence (0..1) of the features in audio_features that state one",
}
COMPLETENESS = frozenset(("missing_required",))
VALIDITY = frozenset(("wrong_type", "out_of_range", "future_date", "own_schema"))


class Disappeared(Record):
    """A finding of the run before that is no more."""

    check: str
    collection: str
    count: int


class Comparison(Record):
    """What is different from the run before of the same owner."""

    previous_job_id: str
    new: int
    gone: tuple[Disappeared, ...] = ()
    grown: int
    health_score_before: float


class Report(Record):
    """The outcome of one validation."""

    id: str = Field(alias="_id")  # the job's
    created_at: datetime
    deep: bool
    database: str
    overall_health: str  # healthy, issues_found or critical
    health_score: float
    total_issues: int
    by_severity: dict[str, int]
    repairable: int
    documents: int
    seconds: float  # from the job's start to its report
    work_seconds: float  # over all workers
    documents_per_second: float
    collections: dict[str, CollectionFigures]
    quality: Quality
    recommendations: tuple[str, ...]
    not_checked: tuple[NotChecked, ...]
    checks: tuple[str, ...]  # what was looked for
    comparison: Comparison | None = None


def added(tallies: Iterable[Tally], examples_max: int) -> list[Tally]:
    """Return the tallies of many parts as one for each check and collection, those that found nothing left out."""
    found: dict[tuple[str, str], Tally] = {}
    for one in tallies:
        if one.count:
            key = (one.check, one.collection)
            found[key] = found[key].plus(one, examples_max) if key in found else one
    return [found[key] for key in sorted(found)]


def health_score(findings: Sequence[Finding]) -> float:
    """Return 0..100: 100 less, for each finding, its severity's penalty x (1 + share of the collection) / 2.

    A finding that concerns no documents counts as if it concerned all of them.
    """
    lost = sum(PENALTIES[one.severity] * (1.0 + (1.0 if one.share is None else one.share)) / 2 for one in findings)
    return round(max(0.0, 100.0 - lost), 1)


def overall_health(findings: Sequence[Finding]) -> str:
    """Return `healthy` without issues, `critical` with ten of them or a critical one, else `issues_found`."""
    issues = [one for one in findings if one.is_issue]
    if not issues:
        return "healthy"
    is_critical = len(issues) >= CRITICAL_ISSUES or any(one.severity is Severity.CRITICAL for one in issues)
    return "critical" if is_critical else "issues_found"


def quality(findings: Sequence[Finding], documents: int, confidence: float | None) -> Quality:
    """Return the quality by the formulas of `QUALITY_FORMULAS`, over so many documents of a known form."""
    if documents == 0:
        return Quality(accuracy=confidence)
    lacking = sum(one.count for one in findings if one.check in COMPLETENESS)
    invalid = sum(one.count for one in findings if one.check in VALIDITY)
    torn = sum(one.count for one in findings if one.group == "integrity")

    def good(bad: int) -> float:
        return round(max(0.0, 1.0 - bad / documents), 6)

    return Quality(completeness=good(lacking), validity=good(invalid), consistency=good(torn), accuracy=confidence)


def compared(
    findings: Sequence[Finding], before: Sequence[Finding], *, then: Container[str], now: Container[str]
) -> tuple[list[Finding], tuple[Disappeared, ...]]:
    """Return the findings with what has changed since, and what is gone.

    Only of collections that were looked at both `then` and `now`, and of the server: what was left out is neither new
    nor gone.
    """
    earlier = {(one.check, one.collection): one.count for one in before}
    marked = [
        _marked(one, earlier.get((one.check, one.collection)))
        if not one.collection or one.collection in then
        else one.model_copy(update={"change": "first"})
        for one in findings
    ]
    here = {(one.check, one.collection) for one in findings}
    gone = [
        Disappeared(check=one.check, collection=one.collection, count=one.count)
        for one in before
        if (one.check, one.collection) not in here and (not one.collection or one.collection in now)
    ]
    return marked, tuple(gone)


def _marked(finding: Finding, before: int | None) -> Finding:
    if before is None:
        return finding
    change = "grown" if finding.count > before else "smaller" if finding.count < before else "same"
    return finding.model_copy(update={"change": change, "before": before})


def for_clients(report: Report, findings: Sequence[Finding]) -> Json:
    """Return the whole as EchoTune's clients know it: by group, with a summary."""
    by_group: dict[str, list[Json]] = {"schema": [], "indexes": [], "integrity": [], "quality": [], "drift": []}
    for one in findings:
        by_group.setdefault(one.group, []).append(one.to_json() | {"id": one.id})
    metrics = {name: figures.to_json() for name, figures in report.collections.items()}
    for name, figures in metrics.items():
        both = {"size_bytes": "sizeBytes", "avg_obj_size": "avgObjSize", "total_index_size": "totalIndexSize"}
        metrics[name] = figures | {alias: figures[field] for alias, field in both.items()}
    return {
        "success": True,
        "jobId": report.id,
        "schema": by_group["schema"],
        "indexes": by_group["indexes"],
        "data_integrity": by_group["integrity"],
        "quality": {**report.quality.to_json(), "formulas": dict(QUALITY_FORMULAS), "findings": by_group["quality"]},
        "drift": by_group["drift"],
        "performance": {
            "metrics": metrics,
            "recommendations": list(report.recommendations),
            "findings": by_group.get("performance", []),
        },
        "security": by_group.get("security", []),
        "not_checked": [one.to_json() for one in report.not_checked],
        "summary": {
            "overall_health": report.overall_health,
            "health_score": report.health_score,
            "total_issues": report.total_issues,
            "by_severity": report.by_severity,
            "repairable": report.repairable,
            "validation_time": report.seconds,
            "work_seconds": report.work_seconds,
            "documents": report.documents,
            "documents_per_second": report.documents_per_second,
            "databases_checked": [report.database],
            "checks": list(report.checks),
            "deep": report.deep,
            "timestamp": report.created_at.isoformat(),
        },
        "comparison": report.comparison.to_json() if report.comparison else None,
    }
