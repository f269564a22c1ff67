"""Applying the changes of a plan and taking them back: what a document was is on record before it is touched.

Where the server has transactions, the record and the change are one; elsewhere the record comes first. Either way a
repeat finds what was done: a document that is as the change leaves it is left alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, IndexModel, ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.errors import CollectionInvalid, OperationFailure

from shared.clock import now
from shared.model import Db
from shared.store import repairs
from shared.store.repairs import Action, Change
from workers.database.checks.check import existing
from workers.database.checks.indexes import shape
from workers.database.proposing import id_digest
from workers.database.values import decoded, digest, split

NO_TRANSACTIONS = frozenset((20, 263, 303))
"""Codes by which servers say that they have none: IllegalOperation, OperationNotSupportedInTransaction and the like."""
NO_INDEX = frozenset((26, 27))
EXISTS = 48


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many changes were made, now or before, and how many were left alone."""

    done: int = 0
    skipped: int = 0

    def plus(self, other: Tally) -> Tally:
        """Return both together."""
        return Tally(done=self.done + other.done, skipped=self.skipped + other.skipped)


Batch = Callable[[Db, Sequence[Change], ClientSession | None], Tally]


def prepare(db: Db) -> None:
    """Make the collections that a transaction writes to: some servers can't do that within one."""
    for name in (repairs.UNDO, repairs.QUARANTINE):
        try:
            db.create_collection(name)
        except (CollectionInvalid, OperationFailure) as error:
            if isinstance(error, OperationFailure) and error.code != EXISTS:
                raise


def together(db: Db, changes: Sequence[Change], batch: Batch) -> Tally:
    """Do a batch of changes as one, where the server can."""
    try:
        with db.client.start_session() as session:
            return session.with_transaction(lambda within: batch(db, changes, within))
    except OperationFailure as error:
        if error.code not in NO_TRANSACTIONS:
            raise
    return batch(db, changes, None)


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
    for one, _ in wanted:
        query = {"_id": one.target}
        is_going = one.after is None
        operation: Any = DeleteOne(query) if is_going else ReplaceOne(query, RawBSONDocument(one.after or b""))
        operations[one.collection].append(operation)
    _write(db, operations, session)
    return Tally(done=len(wanted) + len(done), skipped=len(changes) - len(wanted) - len(done))


def undo_batch(db: Db, changes: Sequence[Change], session: ClientSession | None) -> Tally:
    """Put documents back as they were, byte for byte; those that somebody else has changed since are left alone."""
    here = _current(db, changes, session)
    before = repairs.raw_before(db, [one.id for one in changes], session)
    done = [one for one in changes if here.get(one.id) == before[one.id]]
    restored = {one.id for one in done}
    wanted = [one for one in changes if _is_after(one, here.get(one.id)) and one.id not in restored]
    operations: dict[str, list[Any]] = defaultdict(list)
    for one in wanted:
        raw = RawBSONDocument(before[one.id])
        operations[one.collection].append(ReplaceOne({"_id": one.target}, raw, upsert=True))
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
    return raw == change.after


def _write(db: Db, operations: dict[str, list[Any]], session: ClientSession | None) -> None:
    for collection, some in operations.items():
        db[collection].bulk_write(some, ordered=False, session=session, bypass_document_validation=True)


# Indexes


def change_index(db: Db, change: Change) -> str | None:
    """Build or drop an index, on record first; return why not, where it can't be."""
    repairs.log(db, [(change, b"")], None)
    try:
        if change.action is Action.BUILD:
            _build(db, change)
        else:
            _drop(db, change)
    except OperationFailure as error:
        return f"{change.action.value} of the index {change.target} of {change.collection}: code {error.code}"
    return None


def change_index_back(db: Db, change: Change) -> None:
    """Undo the change of an index."""
    if change.action is Action.BUILD:
        _drop(db, change)
    else:
        _build(db, change)


def _build(db: Db, change: Change) -> None:
    index = bson.decode(change.after or b"")
    if shape(index) in {shape(one) for one in existing(db, change.collection)}:
        return
    options = {name: value for name, value in index.items() if name != "key"}
    db[change.collection].create_indexes([IndexModel(list(index["key"].items()), **options)])


def _drop(db: Db, change: Change) -> None:
    try:
        db[change.collection].drop_index(change.target)
    except OperationFailure as error:
        if error.code not in NO_INDEX:
            raise
