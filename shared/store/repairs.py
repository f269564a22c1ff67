"""What repairs of a library are made of: `repair_plans`, `_changes`, `_undo` and `_shards`, and the `quarantine`.

A plan's changes, and what undoes them, have ids that begin with the plan's and a shard's number, so that workers share
them by ranges of ids, and a repeat finds what was done before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from pydantic import ConfigDict, Field
from pymongo import IndexModel, ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from shared.errors import RepairNotFound
from shared.model import Db, Json, Record
from shared.store.transactions import as_one

Weighed = TypeVar("Weighed")

COLLECTION = PLANS = "repair_plans"
CHANGES = "repair_changes"
UNDO = "repair_undo"
QUARANTINE = "quarantine"
STATES = "repair_shards"
OWN = frozenset((PLANS, CHANGES, UNDO, QUARANTINE, STATES))
"""Collections that repairs never touch: what is in them is broken on purpose."""
KEPT_BYTES_MAX = (16 << 20) - (64 << 10)
"""What a document may weigh to be kept within one of ours: MongoDB's limit, and room for what stands beside it."""
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


APPLICABLE = (PlanStatus.PLANNED, PlanStatus.REFUSED, PlanStatus.APPLYING)
"""With these a plan may be applied, or applied further."""


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
    after_hash: str | None = None  # in its place in the undo log, which has to hold the document before it
    reason: str | None = None

    @property
    def is_of_index(self) -> bool:
        """Whether it is an index that changes, and no document."""
        return self.action in (Action.BUILD, Action.DROP)

    @property
    def leaves(self) -> str | None:
        """The hash of the document as this change leaves it; None where it goes."""
        return digest(self.after) if self.after is not None else self.after_hash

    @property
    def can_be_kept(self) -> bool:
        """Whether the document fits into one of ours, as it is and as it will be."""
        return max(self.size, len(self.after or b"")) <= KEPT_BYTES_MAX

    @property
    def weight(self) -> int:
        """The bytes of the document before and after."""
        return self.size + len(self.after or b"")


def digest(raw: bytes) -> str:
    """Return the hash by which a document is known to be unchanged."""
    return hashlib.sha256(raw).hexdigest()


def ensure_indexes(db: Db) -> None:
    """Create the index by which a repair is found from the job that has applied it; all else is read by ids."""
    db[PLANS].create_indexes([IndexModel("appliedBy")])


def shard_of(key: str) -> int:
    """Return the shard that a hash belongs to."""
    return int(key[:8], 16) % SHARDS


def change_id(plan: str, collection: str, key: str) -> str:
    """Return the id of the change of a document, given the hash of its id."""
    return f"{plan}:{shard_of(key):02x}:{collection}:{key[:32]}"


def _of_shard(plan: str, shard: int) -> Json:
    prefix = f"{plan}:{shard:02x}:"
    return {"_id": {"$gte": prefix, "$lt": f"{prefix}\U0010ffff"}}


INDEX_SHARD = 0xFF
"""Where the changes of indexes stand: behind all documents."""


def bounded(changes: Iterable[Weighed], weight: Callable[[Weighed], int]) -> Iterator[list[Weighed]]:
    """Yield changes some at a time: up to `BATCH` of them, and a single one or up to `BATCH_BYTES` of documents."""
    batch: list[Weighed] = []
    total = 0
    for one in changes:
        if batch and (len(batch) == BATCH or total + weight(one) > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(one)
        total += weight(one)
    if batch:
        yield batch


def propose(db: Db, changes: Iterable[Change], *, firm: bool) -> int:
    """Write changes of a plan, and return how many; a `firm` one takes the place of another of the same document."""
    count = 0
    for batch in bounded(changes, attrgetter("weight")):
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


def _exact(db: Db, name: str) -> Collection[Json]:
    """Return a collection in whose documents an id may be a date that Python's can't hold."""
    options: CodecOptions[Json] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
    return db.get_collection(name, codec_options=options)


def _pages(db: Db, collection: str, plan: str, shard: int) -> Iterator[list[Change]]:
    """Yield the changes of a shard; what is in memory are the ids of all, and the documents of one page.

    The ids are put in order here: a server's order is not that of a hinted index everywhere, and a sort for each page
    would read all of the shard every time.
    """
    weight: Json = {"$add": ["$size", {"$binarySize": {"$ifNull": ["$after", ""]}}]}
    weighed = db[collection].find(_of_shard(plan, shard), {"weight": weight}).hint([("_id", 1)])
    found = sorted((one["_id"], int(one["weight"])) for one in weighed)
    for page in bounded(found, weight=itemgetter(1)):
        query = {"_id": {"$in": [change_id for change_id, _ in page]}}
        changes = map(Change.from_document, _exact(db, collection).find(query, {"raw": 0}))
        yield sorted(changes, key=attrgetter("id"))


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


def begin(db: Db, plan: str, job_id: str) -> bool:
    """Note that a job applies a plan; False where it can't be applied any more."""
    query = {"_id": plan, "status": {"$in": [one.value for one in APPLICABLE]}}
    note = {"$set": {"status": PlanStatus.APPLYING.value, "note": None}, "$addToSet": {"appliedBy": job_id}}
    return db[PLANS].update_one(query, note).matched_count == 1


def forget(db: Db, plan: str) -> int:
    """Delete a plan's changes, its undo log and what it has set aside; return how many documents that were."""
    query = {"_id": {"$gte": f"{plan}:", "$lt": f"{plan};"}}
    move(db, plan, PlanStatus.FORGOTTEN)  # first: half an undo log is none
    for shard in (*range(SHARDS), INDEX_SHARD):
        close(db, plan, shard)
    return sum(db[name].delete_many(query).deleted_count for name in (CHANGES, UNDO, QUARANTINE))


def move(
    db: Db, plan: str, status: PlanStatus, note: str | None = None, *, only_from: Iterable[PlanStatus] = PlanStatus
) -> bool:
    """Move a plan on from one of some statuses; False where it has another one by now."""
    query = {"_id": plan, "status": {"$in": [one.value for one in only_from]}}
    return db[PLANS].update_one(query, {"$set": {"status": status.value, "note": note}}).matched_count == 1


# How far the shards of a plan are


def enter(db: Db, plan: str, shard: int, session: ClientSession | None) -> bool:
    """Whether changes may still be made in a shard: no, once somebody has begun to undo it.

    Within a transaction nobody can begin before it ends, for both write this document; so that not even a worker that
    was stopped for an hour and wakes up changes anything behind an undo.
    """
    query = {"_id": _state_id(plan, shard)}
    db[STATES].update_one(query, {"$inc": {"entered": 1}}, upsert=True, session=session)
    found = db[STATES].find_one(query, session=session) or {}
    return not found.get("closed", False)


def close(db: Db, plan: str, shard: int) -> None:
    """Let nobody change anything more in a shard."""
    query = {"_id": _state_id(plan, shard)}
    changed: Json = {"$set": {"closed": True}}
    # As a transaction, to wait for one that is at the same document.
    as_one(db, lambda session: db[STATES].update_one(query, changed, upsert=True, session=session))


def note_undone(db: Db, plan: str, shard: int) -> None:
    """Note that all changes of a shard are undone."""
    db[STATES].update_one({"_id": _state_id(plan, shard)}, {"$set": {"undone": True}}, upsert=True)


def is_undone(db: Db, plan: str) -> bool:
    """Whether all changes of documents are."""
    found = db[STATES].find({"_id": {"$in": [_state_id(plan, shard) for shard in range(SHARDS)]}})
    return sum(1 for one in found if one.get("undone")) == SHARDS


def _state_id(plan: str, shard: int) -> str:
    return f"{plan}:{shard:02x}"


# What undoes a repair


def log(db: Db, changes: Sequence[tuple[Change, bytes]], session: ClientSession | None) -> None:
    """Write what undoes some changes: each with the document as it is, as bytes. What is there already stays.

    Of the document as it will be the hash is enough: both might be more than a document may weigh.
    """
    operations = []
    for change, raw in changes:
        kept = change if change.is_of_index else change.model_copy(update={"after": None, "after_hash": change.leaves})
        document = {**kept.to_document(), "raw": Binary(raw)}
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
