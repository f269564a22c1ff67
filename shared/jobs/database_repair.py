"""The job kind `database_repair`: a plan of every change, its approval, the changes, and their undoing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.access import Scope
from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs.database_validate import ended_items
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor
from shared.store import repairs
from shared.store.id_ranges import IdRange, collections_of, ranges_of
from shared.store.repairs import Group, PlanStatus

APPROVE = "approve"
"""The key of the question that an applying repair asks."""
JobId = Annotated[str, Field(min_length=1, max_length=256)]


class Request(JobRequest):
    """What to put right, or which repair to undo."""

    validation: JobId | None = Field(default=None, description="Only what this validation has found")
    checks: tuple[str, ...] = Field(
        default=(), max_length=100, description="Only what these checks find; empty for all"
    )
    collections: tuple[str, ...] = Field(default=(), max_length=1000, description="Only in these; empty for all")
    apply: bool = Field(default=False, description="Change the data, once the plan is approved; else only lay it out")
    plan_id: JobId | None = Field(default=None, description="With `apply`: a plan that was laid out before")
    plan_hash: str | None = Field(default=None, max_length=64, description="The hash of that plan, as its approval")
    share_max: float = Field(
        default=0.1, ge=0, le=1, description="Nothing is applied where more of the plan's documents were changed since"
    )
    undo: JobId | None = Field(
        default=None, description="Undo this repair, by its plan or the job that applied it; goes with nothing else"
    )
    forget: JobId | None = Field(
        default=None,
        description="With `planHash`: delete for ever the undo log and the quarantine of this repair; no undo after it",
    )

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        others = self.apply or self.plan_id or self.validation or self.checks or self.collections
        if self.undo is not None and (others or self.plan_hash or self.forget):
            raise ValueError("undo goes with nothing else")
        if self.forget is not None:
            if others or self.plan_hash is None:
                raise ValueError("forget goes with planHash and nothing else")
            return self
        if (self.plan_id is None) != (self.plan_hash is None) or (self.plan_id is not None and not self.apply):
            raise ValueError("planId, planHash and apply go together")
        return self


class Part(StrEnum):
    """What an item does; the steps wait for all before them."""

    SCAN = "scan"  # finds the changes of a range
    WHOLE = "whole"  # finds duplicates and the changes of indexes of a collection
    SEAL = "seal"  # counts and hashes the plan
    GATE = "gate"  # waits for the approval, and looks whether the data is as it was
    APPLY = "apply"  # changes the documents of a shard
    BUILD = "build"  # changes the indexes
    UNBUILD = "unbuild"  # changes the indexes back
    UNDO = "undo"  # changes the documents of a shard back
    CLOSE = "close"  # says that all is undone
    FORGET = "forget"  # deletes what would undo the repair


KEEPING = frozenset((PlanStatus.PLANNED, PlanStatus.APPLYING, PlanStatus.APPLIED))
"""With these a plan's undo log is wanted still, or will be."""
UNTOUCHED = (PlanStatus.PLANNED, PlanStatus.REFUSED)
"""With these nothing of a plan is applied, so it may be laid out anew."""
STEPS = frozenset((Part.SEAL, Part.GATE, Part.BUILD, Part.UNBUILD, Part.CLOSE, Part.FORGET))


class Item(Body):
    """A range, a collection, a shard or a step."""

    part: Part
    range: IdRange | None = None
    collection: str | None = None
    shard: int | None = None


class Result(Body):
    """What came of it."""

    part: Part
    changes: int = Field(default=0, description="Proposed, or in the whole plan")
    done: int = 0
    skipped: int = Field(default=0, description="Left alone, for they were changed by somebody else meanwhile")
    plan_hash: str | None = None
    note: str | None = None


class Summary(Body):
    """What the repair would change, or has changed."""

    plan_id: str
    plan_hash: str | None
    status: str = Field(description="planned, applying, applied, refused, undoing, undone or forgotten")
    changes: int
    applied: int
    skipped: int = Field(description="Left alone, for they were changed by somebody else meanwhile")
    undone: int
    forgotten: int = Field(default=0, description="Documents of the undo log, the quarantine and the plan, deleted")
    groups: tuple[Group, ...] = Field(description="The changes by collection, action and checks, with examples")
    notes: tuple[str, ...]


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the items in their order: scans and the seal, then the gate, shards and indexes; or those of an undo."""
    done = int((cursor or {}).get("steps", 0))
    if not (request.undo or request.forget or request.plan_id) and done == 0:
        yield from _scans(request, cursor, context)
    for n, item in enumerate(_steps(request), start=1):
        if n > done:
            yield Planned(item=item, cursor={"steps": n})


def _scans(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    at = str((cursor or {}).get("collection", ""))
    there = set(collections_of(context.library))
    for name in sorted((set(request.collections) or there) - repairs.OWN):
        if name < at or (name == at and "range" not in (cursor or {})):
            continue
        behind = IdRange.model_validate(cursor["range"]) if cursor and name == at else None
        for one in ranges_of(context.library, name, behind=behind) if name in there else ():
            moved = {"collection": name, "range": one.model_dump(mode="json", exclude_none=True)}
            yield Planned(item=Item(part=Part.SCAN, range=one), cursor=moved)
        yield Planned(item=Item(part=Part.WHOLE, collection=name), cursor={"collection": name})


def _steps(request: Request) -> Iterator[Item]:
    shards = range(repairs.SHARDS)
    if request.forget is not None:
        yield Item(part=Part.FORGET)
        return
    if request.undo is not None:
        yield Item(part=Part.UNBUILD)
        yield from (Item(part=Part.UNDO, shard=shard) for shard in shards)
        yield Item(part=Part.CLOSE)
        return
    if request.plan_id is None:
        yield Item(part=Part.SEAL)
    if request.apply:
        yield Item(part=Part.GATE)
        yield from (Item(part=Part.APPLY, shard=shard) for shard in shards)
        yield Item(part=Part.BUILD)


def last_step(item: Item) -> Queue | None:
    """Return the queue of a step."""
    return Queue.BULK if item.part in STEPS else None


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Nothing to do: the work writes what it does before its outcome is known, and a repeat finds it done."""


def plan_id_of(request: Request, job_id: str) -> str:
    """Return the plan that a job is about, as far as its request tells: an undo names a repair's job."""
    return request.plan_id or request.undo or request.forget or job_id


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Add up what was done."""
    items = list(ended_items(context))
    results = [Result.model_validate(item.result) for item in items if item.status.is_good and item.result]
    failures = [item.error.message for item in items if item.error is not None]
    plan_id = plan_id_of(request, context.job_id)
    found = repairs.find_plan(context.library, plan_id)
    warnings = found.warnings if found and found.status in KEEPING else ()
    notes = dict.fromkeys([*warnings, *(one.note for one in results if one.note), *failures])

    def total(*parts: Part) -> int:
        return sum(one.done for one in results if one.part in parts)

    return Summary(
        plan_id=found.id if found else plan_id,
        plan_hash=found.hash if found else None,
        status=found.status.value if found else PlanStatus.PLANNED.value,
        changes=found.changes if found else 0,
        applied=total(Part.APPLY, Part.BUILD),
        skipped=sum(one.skipped for one in results),
        undone=total(Part.UNDO, Part.UNBUILD),
        forgotten=total(Part.FORGET),
        groups=found.groups if found else (),
        notes=tuple(list(notes)[:20]),
    )


KIND = JobKind(
    name="database_repair",
    tool="repair_database",
    title="Repair the database",
    description=(
        "Lay out every change that would put right what a validation finds; nothing is changed. With `apply` the job"
        " then waits for the approval of its plan (POST /api/jobs/ID/approve, or answer_job), keeps each document as it"
        " was in an undo log, and changes it; what has no place any more goes to a quarantine. `undo` takes a repair"
        " back, `forget` deletes what it would need."
    ),
    queue=Queue.BULK,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.database.repairing:repair",
    merge=merge,
    summarise=summarise,
    last_step=last_step,
    item_seconds=0.5,
    crashes_max=5,  # a range kills nobody, and one that is left out leaves a hole in the whole
    slots_share=0.5,  # the other half of the cores is left to the server, and to whoever asks it something meanwhile
    item_seconds_max=6 * 3600.0,
    chunk_items_max=4,
    scope=Scope.DATABASE,
    examples=({}, {"checks": ["out_of_range"], "apply": True}, {"undo": "job_019a"}),
)
