"""What repairs of a library are made of: `repair_plans`, `repair_changes`, `repair_undo` and `quarantine`.

A plan's changes, and what undoes them, have ids that begin with the plan's and a shard's number, so that workers share
them by ranges of ids, and a repeat finds what was done before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson.binary import Binary
from pydantic import ConfigDict, Field
from pymongo import IndexModel, ReplaceOne, UpdateOne
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
BATCH_BYTES = 4 << 20
"""Changes that are worked on together, by number and by what their documents weigh: bounds memory and transactions."""


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
    FORGOTTEN = "forgotten"  # what would undo it is deleted


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
    warnings: tuple[str, ...] = ()  # what whoever approves it has to know
    applied_by: tuple[str, ...] = ()  # jobs
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
    size: int = 0  # its bytes
    after: bytes | None = None  # the document as it will be; of an index, what makes it
    reason: str | None = None

    @property
    def weight(self) -> int:
        """The bytes of the document before and after."""
        return self.size + len(self.after or b"")


def ensure_indexes(db: Db) -> None:
    """Create the index by which a repair is found from the job that has applied it; all else is read by ids."""
    db[PLANS].create_indexes([IndexModel("appliedBy")])


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


def bounded(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Yield changes some at a time: up to `BATCH` of them, and a single one or up to `BATCH_BYTES` of documents."""
    batch: list[Change] = []
    weight = 0
    for one in changes:
        if batch and (len(batch) == BATCH or weight + one.weight > BATCH_BYTES):
            yield batch
            batch, weight = [], 0
        batch.append(one)
        weight += one.weight
    if batch:
        yield batch


def propose(db: Db, changes: Iterable[Change], *, firm: bool) -> int:
    """Write changes of a plan, and return how many; a `firm` one takes the place of another of the same document."""
    count = 0
    for batch in bounded(changes):
        db[CHANGES].bulk_write([_proposal(one, firm) for one in batch], ordered=False)
        count += len(batch)
    return count


def _proposal(change: Change, firm: bool) -> ReplaceOne[Json] | UpdateOne:
    document = change.to_document()
    if firm:
        return ReplaceOne({"_id": change.id}, document, upsert=True)
    own_id = document.pop("_id")
    return UpdateOne({"_id": own_id}, {"$setOnInsert": document}, upsert=True)


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
        found = db[collection].find(query, {"raw": 0}).hint([("_id", 1)]).limit(BATCH)
        page = next(bounded(map(Change.from_document, found)), None)
        if page is None:
            return
        yield page
        query = {"_id": {**query["_id"], "$gt": page[-1].id}}
        query["_id"].pop("$gte", None)


def save_plan(db: Db, plan: RepairPlan) -> None:
    """Store a plan."""
    db[PLANS].replace_one({"_id": plan.id}, plan.to_document(), upsert=True)


def find_plan(db: Db, repair: str) -> RepairPlan | None:
    """Return a plan by its id or that of a job that has applied it, or None."""
    document = db[PLANS].find_one({"_id": repair}) or db[PLANS].find_one({"appliedBy": repair})
    return RepairPlan.from_document(document) if document else None


def get_plan(db: Db, repair: str) -> RepairPlan:
    """Return a plan by its id or that of a job that has applied it. Raises `RepairNotFound`."""
    found = find_plan(db, repair)
    if found is None:
        raise RepairNotFound(f"There is no plan of a repair {repair!r}.")
    return found


def begin(db: Db, plan: str, job_id: str) -> None:
    """Note that a job applies a plan."""
    db[PLANS].update_one(
        {"_id": plan},
        {"$set": {"status": PlanStatus.APPLYING.value, "note": None}, "$addToSet": {"appliedBy": job_id}},
    )


def forget(db: Db, plan: str) -> int:
    """Delete a plan's changes, its undo log and what it has set aside; return how many documents that were."""
    query = {"_id": {"$gte": f"{plan}:", "$lt": f"{plan};"}}
    set_status(db, plan, PlanStatus.FORGOTTEN)  # first: half an undo log is none
    return sum(db[name].delete_many(query).deleted_count for name in (CHANGES, UNDO, QUARANTINE))


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
