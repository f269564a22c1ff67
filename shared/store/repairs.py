"""What repairs of a library are made of: `repair_plans`, `repair_changes`, `repair_undo` and `quarantine`.

A plan's changes, and what undoes them, have ids that begin with the plan's and a shard's number, so that workers share
them by ranges of ids, and a repeat finds what was done before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson.binary import Binary
from pydantic import ConfigDict, Field
from pymongo import ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession

from shared.errors import RepairNotFound
from shared.model import Db, Json, Record

COLLECTION = PLANS = "repair_plans"
CHANGES = "repair_changes"
UNDO = "repair_undo"
QUARANTINE = "quarantine"
OWN = frozenset((PLANS, CHANGES, UNDO, QUARANTINE))
"""Collections that repairs never touch: what is in them is broken on purpose."""
SHARDS = 16
BATCH = 200


class Action(StrEnum):
    """What a change does."""

    REPLACE = "replace"  # the document becomes another
    QUARANTINE = "quarantine"  # the document is moved to the quarantine
    BUILD = "build"  # an index is built
    DROP = "drop"  # an index is dropped


class PlanStatus(StrEnum):
    """Where a plan stands."""

    PLANNED = "planned"
    APPLYING = "applying"
    APPLIED = "applied"
    REFUSED = "refused"
    UNDOING = "undoing"
    UNDONE = "undone"


class Group(Record):
    """Changes of one sort."""

    collection: str
    action: Action
    checks: tuple[str, ...]
    count: int
    examples: tuple[str, ...]


class RepairPlan(Record):
    """What a repair would change, or has changed."""

    id: str = Field(alias="_id")  # the job's
    validation: str | None
    hash: str  # over all changes
    changes: int
    groups: tuple[Group, ...]
    status: PlanStatus = PlanStatus.PLANNED
    note: str | None = None
    created_at: datetime


class Change(Record):
    """One change of one document or index."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str = Field(alias="_id")  # plan:shard:collection:hash of the document's id
    plan: str
    collection: str
    target: Any  # the document's id, or the index's name
    action: Action
    checks: tuple[str, ...]
    before: str  # hash of the document as it is
    after: bytes | None = None  # the document as it will be; of an index, what makes it
    reason: str | None = None


def ensure_indexes(db: Db) -> None:
    """Nothing to create: all is read by ranges of ids."""


def shard_of(digest: str) -> int:
    """Return the shard that a hash belongs to."""
    return int(digest[:8], 16) % SHARDS


def change_id(plan: str, collection: str, digest: str) -> str:
    """Return the id of the change of a document, given the hash of its id."""
    return f"{plan}:{shard_of(digest):02x}:{collection}:{digest[:32]}"


def _of_shard(plan: str, shard: int) -> Json:
    prefix = f"{plan}:{shard:02x}:"
    return {"_id": {"$gte": prefix, "$lt": f"{prefix}\U0010ffff"}}


INDEX_SHARD = 0xFF
"""Where the changes of indexes stand: behind all documents."""


def propose(db: Db, changes: Sequence[Change], *, firm: bool) -> None:
    """Write changes of a plan; a `firm` one takes the place of another of the same document, the others give way."""
    operations: list[Any] = []
    for one in changes:
        document = one.to_document()
        if firm:
            operations.append(ReplaceOne({"_id": one.id}, document, upsert=True))
        else:
            own_id = document.pop("_id")
            operations.append(UpdateOne({"_id": own_id}, {"$setOnInsert": document}, upsert=True))
    for start in range(0, len(operations), BATCH):
        db[CHANGES].bulk_write(operations[start : start + BATCH], ordered=False)


def changes_of(db: Db, plan: str, shard: int) -> Iterator[list[Change]]:
    """Yield the changes of a shard in the order of their ids, some at a time."""
    yield from _pages(db, CHANGES, plan, shard)


def undo_of(db: Db, plan: str, shard: int) -> Iterator[list[Change]]:
    """Yield what undoes a shard of a repair, some at a time; `after` is what a change left, `before` is in `raw`."""
    yield from _pages(db, UNDO, plan, shard)


def _pages(db: Db, collection: str, plan: str, shard: int) -> Iterator[list[Change]]:
    query = _of_shard(plan, shard)
    while True:
        # In the order of the hinted index, without a sort.
        page = list(db[collection].find(query).hint([("_id", 1)]).limit(BATCH))
        if not page:
            return
        yield [Change.from_document(one) for one in page]
        query = {"_id": {**query["_id"], "$gt": page[-1]["_id"]}}
        query["_id"].pop("$gte", None)


def save_plan(db: Db, plan: RepairPlan) -> None:
    """Store a plan."""
    db[PLANS].replace_one({"_id": plan.id}, plan.to_document(), upsert=True)


def find_plan(db: Db, plan: str) -> RepairPlan | None:
    """Return a plan, or None."""
    document = db[PLANS].find_one({"_id": plan})
    return RepairPlan.from_document(document) if document else None


def get_plan(db: Db, plan: str) -> RepairPlan:
    """Return a plan. Raises `RepairNotFound`."""
    found = find_plan(db, plan)
    if found is None:
        raise RepairNotFound(f"There is no plan of a repair {plan!r}.")
    return found


def set_status(db: Db, plan: str, status: PlanStatus, note: str | None = None) -> None:
    """Move a plan on."""
    db[PLANS].update_one({"_id": plan}, {"$set": {"status": status.value, "note": note}})


def log(db: Db, changes: Sequence[tuple[Change, bytes]], session: ClientSession | None) -> None:
    """Write what undoes some changes: each with the document as it is, as bytes. What is there already stays."""
    operations = []
    for change, raw in changes:
        document = {**change.to_document(), "raw": Binary(raw)}
        own_id = document.pop("_id")
        operations.append(UpdateOne({"_id": own_id}, {"$setOnInsert": document}, upsert=True))
    if operations:
        db[UNDO].bulk_write(operations, ordered=False, session=session)


def raw_before(db: Db, change_ids: Sequence[str], session: ClientSession | None = None) -> dict[str, bytes]:
    """Return the documents as they were before some changes, as bytes, by the changes' ids."""
    found = db[UNDO].find({"_id": {"$in": list(change_ids)}}, {"raw": 1}, session=session)
    return {one["_id"]: bytes(one["raw"]) for one in found}


def set_aside(db: Db, changes: Sequence[tuple[Change, bytes]], moment: datetime, session: ClientSession | None) -> None:
    """Keep documents in the quarantine, with where they come from and why."""
    operations = []
    for change, raw in changes:
        document = {
            "plan": change.plan,
            "collection": change.collection,
            "target": change.target,
            "checks": list(change.checks),
            "reason": change.reason,
            "raw": Binary(raw),
            "movedAt": moment,
        }
        operations.append(UpdateOne({"_id": change.id}, {"$setOnInsert": document}, upsert=True))
    if operations:
        db[QUARANTINE].bulk_write(operations, ordered=False, session=session)


def take_back(db: Db, change_ids: Sequence[str], session: ClientSession | None) -> None:
    """Take documents out of the quarantine."""
    db[QUARANTINE].delete_many({"_id": {"$in": list(change_ids)}}, session=session)
