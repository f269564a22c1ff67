"""Applying the changes of a plan and taking them back: what a document was is on record before it is touched.

Where the server has transactions, the record and the change are one; elsewhere the record comes first. Either way a
repeat finds what was done: a document that is as the change leaves it is left alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import bson
from bson.codec_options import DatetimeConversion
from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from pymongo import DeleteOne, IndexModel, InsertOne, ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, CollectionInvalid, OperationFailure

from shared.clock import now
from shared.errors import ItemFailed
from shared.model import Db, Json
from shared.store import repairs
from shared.store.repairs import Action, Change, digest
from shared.store.transactions import as_one
from workers.database.checks.check import existing
from workers.database.checks.indexes import shape
from workers.database.proposing import id_digest
from workers.database.values import decoded, split

AS_BYTES = DEFAULT_RAW_BSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
"""pymongo looks into bytes that are to be written; a date that Python's can't hold must not stop it."""
EXISTS = 48
WRITE_CONFLICT = 112


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many changes were made, now or before, and how many were left alone."""

    done: int = 0
    skipped: int = 0
    refused: frozenset[int] = frozenset()  # the server's codes, where it took some of those not

    def plus(self, other: Tally) -> Tally:
        """Return both together."""
        refused = self.refused | other.refused
        return Tally(done=self.done + other.done, skipped=self.skipped + other.skipped, refused=refused)


Batch = Callable[[Db, Sequence[Change], ClientSession | None], Tally]


def prepare(db: Db) -> None:
    """Make the collections that a transaction writes to: some servers can't do that within one."""
    for name in (repairs.UNDO, repairs.QUARANTINE, repairs.STATES):
        try:
            db.create_collection(name)
        except (CollectionInvalid, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code != EXISTS:
                raise


def together(db: Db, changes: Sequence[Change], batch: Batch) -> Tally:
    """Do a batch of changes as one, where the server can; what it refuses is left alone, and the others are made."""
    try:
        return as_one(db, partial(batch, db, changes))
    except BulkWriteError as error:
        codes = frozenset(int(one.get("code", 0)) for one in error.details.get("writeErrors", ()))
        if not codes or WRITE_CONFLICT in codes:
            raise
        if len(changes) == 1:
            return Tally(skipped=1, refused=codes)
    total = Tally()
    for one in changes:
        total = total.plus(together(db, [one], batch))
    return total


def applying(plan: str, shard: int) -> Batch:
    """Return what makes changes of a shard, as long as nobody has begun to undo it."""

    def apply(db: Db, changes: Sequence[Change], session: ClientSession | None) -> Tally:
        require_open(db, plan, shard, session)
        return apply_batch(db, changes, session)

    return apply


def require_open(db: Db, plan: str, shard: int, session: ClientSession | None = None) -> None:
    """Raise `ItemFailed` where a shard is being undone, or was."""
    if not repairs.enter(db, plan, shard, session):
        raise ItemFailed("taken_back", f"The repair {plan} is undone or forgotten meanwhile.")


def count_changed(db: Db, changes: Sequence[Change]) -> int:
    """Return how many documents are neither as they were when the plan was made, nor as it leaves them."""
    here = _current(db, changes, None)
    return sum(not (_is_before(one, here.get(one.id)) or _is_after(one, here.get(one.id))) for one in changes)


def apply_batch(db: Db, changes: Sequence[Change], session: ClientSession | None) -> Tally:
    """Make changes of documents; those that somebody else has changed meanwhile are left alone."""
    here = _current(db, changes, session)
    logged = repairs.raw_before(db, [one.id for one in changes], session)
    wanted = [(one, here[one.id]) for one in changes if one.id in here and _is_before(one, here[one.id])]
    done = [one for one in changes if one.id in logged and _is_after(one, here.get(one.id))]
    repairs.log(db, wanted, session)
    repairs.set_aside(db, [pair for pair in wanted if pair[0].action is Action.QUARANTINE], now(), session)
    operations: dict[str, list[Any]] = defaultdict(list)
    for one, raw in wanted:
        query = _as_it_is(one, raw, session)
        operation: Any = DeleteOne(query) if one.after is None else ReplaceOne(query, _bytes(one.after))
        operations[one.collection].append(operation)
    _write(db, operations, session)
    made = len(wanted) if session is not None else _count_made(db, [one for one, _ in wanted])
    return Tally(done=made + len(done), skipped=len(changes) - made - len(done))


def _as_it_is(change: Change, raw: bytes, session: ClientSession | None) -> Json:
    """Return the filter for a document, as it is: without a transaction somebody may change it before we do."""
    if session is not None:
        return {"_id": change.target}
    return {"_id": change.target, "$expr": {"$eq": ["$$ROOT", {"$literal": _bytes(raw)}]}}


def _bytes(raw: bytes) -> RawBSONDocument:
    return RawBSONDocument(raw, AS_BYTES)


def _count_made(db: Db, changes: Sequence[Change]) -> int:
    here = _current(db, changes, None)
    return sum(_is_after(one, here.get(one.id)) for one in changes)


def undo_batch(db: Db, changes: Sequence[Change], session: ClientSession | None) -> Tally:
    """Put documents back as they were, byte for byte; those that somebody else has changed since are left alone."""
    here = _current(db, changes, session)
    before = repairs.raw_before(db, [one.id for one in changes], session)
    done = [one for one in changes if here.get(one.id) == before[one.id]]
    restored = {one.id for one in done}
    wanted = [one for one in changes if _is_after(one, here.get(one.id)) and one.id not in restored]
    operations: dict[str, list[Any]] = defaultdict(list)
    for one in wanted:
        raw, now_there = _bytes(before[one.id]), here.get(one.id)
        query = None if now_there is None else _as_it_is(one, now_there, session)
        # Inserted and not upserted: what somebody has put there just now stays.
        operations[one.collection].append(InsertOne(raw) if query is None else ReplaceOne(query, raw))
    _write(db, operations, session)
    repairs.take_back(db, [one.id for one in (*wanted, *done)], session)
    return Tally(done=len(wanted) + len(done), skipped=len(changes) - len(wanted) - len(done))


def _current(db: Db, changes: Sequence[Change], session: ClientSession | None) -> dict[str, bytes]:
    """Return the documents that changes are about as they are now, as bytes, by the changes' ids."""
    by_collection: dict[str, dict[str, Change]] = defaultdict(dict)
    for one in changes:
        by_collection[one.collection][id_digest(one.target)] = one
    found: dict[str, bytes] = {}
    for collection, wanted in by_collection.items():
        query = {"_id": {"$in": [one.target for one in wanted.values()]}}
        for batch in db[collection].find_raw_batches(query, session=session):
            for raw in split(batch):  # type: ignore[arg-type]  # the batches are bytes, whatever the stubs say
                change = wanted.get(id_digest(decoded(raw)["_id"]))
                if change is not None:
                    found[change.id] = raw
    return found


def _is_before(change: Change, raw: bytes | None) -> bool:
    return raw is not None and digest(raw) == change.before


def _is_after(change: Change, raw: bytes | None) -> bool:
    return (None if raw is None else digest(raw)) == change.leaves


def _write(db: Db, operations: dict[str, list[Any]], session: ClientSession | None) -> None:
    for collection, some in operations.items():
        db[collection].bulk_write(some, ordered=False, session=session, bypass_document_validation=True)


# Indexes


def change_index(db: Db, change: Change) -> str | None:
    """Build or drop an index, on record first; return why not, where it is not as the plan has seen it or can't be."""
    require_open(db, change.plan, repairs.INDEX_SHARD)
    is_ours = bool(repairs.raw_before(db, [change.id]))  # we began, and were killed
    if not is_ours:
        if not _is_as_planned(db, change):
            return f"{_named(change)}: it is not as it was when the plan was laid out"
        repairs.log(db, [(change, b"")], None)
    return _try(_build if change.action is Action.BUILD else _drop, db, change)


def change_index_back(db: Db, change: Change) -> str | None:
    """Undo the change of an index; return why not, where it can't be."""
    return _try(_drop if change.action is Action.BUILD else _build, db, change)


def _try(do: Callable[[Db, Change], None], db: Db, change: Change) -> str | None:
    try:
        do(db, change)
    except OperationFailure as error:
        return f"{_named(change)}: code {error.code}"
    return None


def _named(change: Change) -> str:
    return f"{change.action.value} of the index {change.target} of {change.collection}"


def _is_as_planned(db: Db, change: Change) -> bool:
    if change.action is Action.BUILD:
        return _shape(change) not in {shape(one) for one in existing(db, change.collection)}
    return _is_there(db, change)


def _shape(change: Change) -> Any:
    return shape(bson.decode(change.after or b""))


def _is_there(db: Db, change: Change) -> bool:
    """Whether the index of this name is the one that the change is about."""
    here = existing(db, change.collection)
    return any(one["name"] == change.target and shape(one) == _shape(change) for one in here)


def _build(db: Db, change: Change) -> None:
    index = bson.decode(change.after or b"")
    if shape(index) in {shape(one) for one in existing(db, change.collection)}:
        return
    options = {name: value for name, value in index.items() if name != "key"}
    db[change.collection].create_indexes([IndexModel(list(index["key"].items()), **options)])


def _drop(db: Db, change: Change) -> None:
    if _is_there(db, change):
        db[change.collection].drop_index(change.target)
