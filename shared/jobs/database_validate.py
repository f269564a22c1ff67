"""The job kind `database_validate`: every document of the owner's database is looked at, and a report is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from enum import StrEnum

from pydantic import Field

from shared import findings
from shared.access import Scope
from shared.broker import Queue
from shared.clock import now
from shared.findings import CheckInfo, CollectionFigures, Comparison, Finding, NotChecked, Report, Severity, Tally
from shared.items import ItemStatus
from shared.jobs.job import FollowUp, JobContext, JobKind, JobRequest, Planned
from shared.library import COLLECTIONS
from shared.model import Body, Cursor, Json
from shared.store import jobs, outcomes, reports
from shared.store.id_ranges import IdRange, collections_of, ranges_of
from shared.store.outcomes import StoredItem

EXAMPLES_MAX = 100


class Request(JobRequest):
    """What to look for."""

    deep: bool = Field(
        default=False, description="Have the server check its own files, too; that may lock collections meanwhile"
    )
    repair: bool = Field(default=False, description="Afterwards, lay out a repair as a job that changes nothing")
    collections: tuple[str, ...] = Field(default=(), max_length=1000, description="Only these; empty for all")
    examples: int = Field(default=5, ge=0, le=EXAMPLES_MAX, description="How many ids a finding names at most")


class Part(StrEnum):
    """What an item looks at."""

    DOCUMENTS = "documents"  # each document of a range
    COLLECTION = "collection"  # what only the whole of a collection tells
    SERVER = "server"  # the database and its server


class Item(Body):
    """A range of documents, a collection, or the server."""

    part: Part
    range: IdRange | None = None
    collection: str | None = None


class Result(Body):
    """What was found there."""

    collection: str = ""
    documents: int = Field(default=0, description="Looked at, one by one")
    is_known: bool = Field(default=False, description="Whether the collection's form is known")
    seconds: float = 0.0
    tallies: tuple[Tally, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    checks: tuple[CheckInfo, ...] = Field(default=(), description="Of the tallies")
    looked_for: tuple[str, ...] = Field(default=(), description="The checks that were done")
    figures: CollectionFigures | None = None
    confidence: float | None = None
    recommendations: tuple[str, ...] = ()


class Summary(Body):
    """How the database is."""

    overall_health: str = Field(description="healthy, issues_found (fewer than 10) or critical")
    health_score: float = Field(description="0 to 100")
    total_issues: int
    by_severity: dict[str, int]
    repairable: int = Field(description="Findings that a job database_repair can see to")
    documents: int = Field(description="Looked at")
    documents_per_second: float
    seconds: float
    collections: int
    not_checked: int = Field(description="What could not be looked at, with the reasons in the report")
    new: int | None = Field(description="Findings that the run before did not have; null where there was none")
    gone: int | None
    grown: int | None
    report: str = Field(description="Where the report is found")


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield each collection's ranges and then the collection as a whole, by name, and the server at the end."""
    db = context.library
    at = str((cursor or {}).get("collection", ""))
    if at == SERVER_AT:
        return
    there = set(collections_of(db))
    for name in sorted(set(request.collections) or there | set(COLLECTIONS)):
        if name < at or (name == at and "range" not in (cursor or {})):
            continue
        behind = IdRange.model_validate(cursor["range"]) if cursor and name == at else None
        for one in ranges_of(db, name, behind=behind) if name in there else ():
            moved = {"collection": name, "range": one.model_dump(mode="json", exclude_none=True)}
            yield Planned(item=Item(part=Part.DOCUMENTS, range=one), cursor=moved)
        yield Planned(item=Item(part=Part.COLLECTION, collection=name), cursor={"collection": name})
    yield Planned(item=Item(part=Part.SERVER), cursor={"collection": SERVER_AT})


SERVER_AT = "\U0010ffff"
"""Behind the name of every collection."""


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Nothing to do: each item's outcome holds what it found."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Add up what the items found, write the report, and compare it with the one before."""
    gathered = _Gathered(request, context)
    previous = reports.before(context.library, context.job_id)
    found = gathered.findings()
    comparison = None
    if previous is not None:
        earlier = reports.findings_of(context.library, previous.id)
        found, gone = findings.compared(found, earlier, then=previous.collections, now=gathered.collections)
        comparison = Comparison(
            previous_job_id=previous.id,
            new=sum(one.change == "new" for one in found),
            gone=gone,
            grown=sum(one.change == "grown" for one in found),
            health_score_before=previous.health_score,
        )
    else:
        found = [one.model_copy(update={"change": "first"}) for one in found]
    report = gathered.report(found, comparison)
    reports.save(context.library, report, found)
    return _summary(report)


class _Gathered:
    """What all good items of a job have found, read page by page from their outcomes."""

    def __init__(self, request: Request, context: JobContext) -> None:
        self._request, self._context = request, context
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._checks: dict[tuple[str, str], CheckInfo] = {}
        self._looked_for: set[str] = set()
        self._figures: dict[str, CollectionFigures] = {}
        self._known_documents = 0
        self._not_checked: dict[tuple[str, str, str], NotChecked] = {}
        self._recommendations: dict[str, None] = {}
        self._confidence: float | None = None
        for item in ended_items(context):
            self._take(item)

    def _take(self, item: StoredItem) -> None:
        if not item.status.is_good or item.result is None:
            part = Item.model_validate(item.item)
            name = part.collection or (part.range.collection if part.range else "")
            why = item.error.message if item.error else "it was not reached"
            self._note(NotChecked(check=str(part.part), collection=name, why=f"a part could not be looked at: {why}"))
            return
        result = Result.model_validate(item.result)
        self._checks.update(((one.id, result.collection), one) for one in result.checks)
        self._looked_for.update(result.looked_for)
        for tally in result.tallies:
            key = (tally.check, tally.collection)
            known = self._tallies.get(key)
            self._tallies[key] = known.plus(tally, self._request.examples) if known else tally
        for one in result.not_checked:
            self._note(one)
        self._recommendations.update(dict.fromkeys(result.recommendations))
        self._confidence = result.confidence if result.confidence is not None else self._confidence
        self._count(result)

    def _count(self, result: Result) -> None:
        if not result.collection:
            return
        known = self._figures.get(result.collection, CollectionFigures())
        sizes = result.figures.model_dump(include=SIZES) if result.figures else {}
        self._known_documents += result.documents if result.is_known else 0
        self._figures[result.collection] = known.model_copy(
            update={
                "documents": known.documents + result.documents,
                "seconds": round(known.seconds + result.seconds, 3),
                **sizes,
            }
        )

    @property
    def collections(self) -> Container[str]:
        """What was looked at."""
        return self._figures.keys()

    def _note(self, one: NotChecked) -> None:
        self._not_checked[one.check, one.collection, one.why] = one

    def findings(self) -> list[Finding]:
        """Return what was found, by check and collection."""
        return [self._finding(self._tallies[key]) for key in sorted(self._tallies) if self._tallies[key].count]

    def _finding(self, tally: Tally) -> Finding:
        info = self._checks[tally.check, tally.collection]
        documents = self._figures.get(tally.collection, CollectionFigures()).documents
        share = min(1.0, round(tally.count / documents, 6)) if documents and info.group not in WHOLE_GROUPS else None
        return Finding(
            **tally.model_dump(),
            id=f"{self._context.job_id}:{tally.check}:{tally.collection}",
            job_id=self._context.job_id,
            share=share,
            **info.model_dump(include={"title", "group", "severity", "why", "repair", "advice"}),
        )

    def report(self, found: Sequence[Finding], comparison: Comparison | None) -> Report:
        """Return the report with these findings."""
        job = jobs.find_without_request(self._context.db, self._context.job_id)
        moment = now()
        started = (job and (job.started_at or job.created_at)) or moment
        seconds = max((moment - started).total_seconds(), 1e-3)
        documents = sum(one.documents for one in self._figures.values())
        by_severity = Counter(one.severity.value for one in found)
        return Report(
            id=self._context.job_id,
            created_at=moment,
            deep=self._request.deep,
            database=self._context.library.name,
            overall_health=findings.overall_health(found),
            health_score=findings.health_score(found),
            total_issues=sum(one.is_issue for one in found),
            by_severity={severity.value: by_severity[severity.value] for severity in Severity},
            repairable=sum(one.repair is not None for one in found),
            documents=documents,
            seconds=round(seconds, 3),
            work_seconds=round(sum(one.seconds for one in self._figures.values()), 3),
            documents_per_second=round(documents / seconds, 1),
            collections=dict(sorted(self._figures.items())),
            quality=findings.quality(found, self._known_documents, self._confidence),
            recommendations=tuple(self._recommendations),
            not_checked=tuple(self._not_checked[key] for key in sorted(self._not_checked)),
            checks=tuple(sorted(self._looked_for)),
            comparison=comparison,
        )


SIZES = {"size_bytes", "avg_obj_size", "indexes", "total_index_size"}
WHOLE_GROUPS = frozenset(("indexes", "performance", "security", "drift"))
"""What these find are not documents of the collection."""


def ended_items(context: JobContext) -> Iterator[StoredItem]:
    """Yield each item once, as it ended: the good ones of every epoch, the others of the last."""
    for epoch in range(context.epoch + 1):
        _, chunks, _ = outcomes.totals(context.db, context.job_id, epoch)
        for start in range(0, chunks, outcomes.RANGE):
            for outcome in outcomes.find_range(
                context.db, context.job_id, epoch, start=start, stop=start + outcomes.RANGE
            ):
                yield from (item for item in outcome.items if item.status.is_good or epoch == context.epoch)


def _summary(report: Report) -> Summary:
    comparison = report.comparison
    shared = set(Summary.model_fields) & set(Report.model_fields) - {"collections", "not_checked"}
    return Summary(
        **report.model_dump(include=shared),
        collections=len(report.collections),
        not_checked=len(report.not_checked),
        new=comparison.new if comparison else None,
        gone=len(comparison.gone) if comparison else None,
        grown=comparison.grown if comparison else None,
        report=f"/api/database/reports/{report.id}",
    )


def present(results: Sequence[Json], context: JobContext) -> list[Json]:
    """Show what an item found without what every item repeats of its checks."""
    return [
        {name: value for name, value in result.items() if name not in ("checks", "lookedFor")} for result in results
    ]


def follow_up(request: Request, context: JobContext) -> FollowUp | None:
    """Lay out a repair, where one was asked for."""
    return FollowUp(kind="database_repair", request={"validation": context.job_id}) if request.repair else None


KIND = JobKind(
    name="database_validate",
    tool="validate_database",
    title="Validate the database",
    description=(
        "Look at every document of your database, its indexes and its server: required fields, types, ranges, orphans,"
        " duplicates, drift, secrets, performance and security. Use it to learn whether the data can be trusted; it"
        " changes nothing. The report is at /api/database/reports/JOB."
    ),
    queue=Queue.BULK,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.database.validation:validate",
    merge=merge,
    summarise=summarise,
    present=present,
    follow_up=follow_up,
    item_seconds=0.5,
    crashes_max=5,  # a range kills nobody, and one that is left out leaves a hole in the whole
    slots_share=0.5,  # the other half of the cores is left to the server, and to whoever asks it something meanwhile
    item_seconds_max=6 * 3600.0,
    chunk_items_max=32,
    scope=Scope.DATABASE,
    examples=({}, {"deep": True}, {"collections": ["audio_features"], "repair": True}),
)
