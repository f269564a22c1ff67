"""Putting references right in what was read while it changed: as after a crash, only that more happened at once.

Collections are read one after the other, jobs before their chunks, chunks before outcomes. So a job that was seen has
all it speaks of; what comes to light beyond that is of later, and is what its workers do again: laid out chunks that
the job's plan does not reach yet, their outcomes, and those of a retry or a job that came only then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from deploy.backup.libraries import database_of
from deploy.backup.manifest import MAIN
from shared.model import Db, Json
from shared.store import artifacts, chunks, indexes, jobs, outcomes

BATCH = 500


def mend(db: Db, owners: Sequence[str]) -> list[str]:
    """Put a restored database right; return what was done, in words. A repeat finds nothing to do."""
    removed = _remove_what_is_of_later(db)
    removed.update(_remove_broken_artifacts(db, owners))
    notes = [f"{count:,} {what} removed" for what, count in sorted(removed.items()) if count]
    return [*notes, *_indexes_to_build(db)]


def _remove_what_is_of_later(db: Db) -> Counter[str]:
    removed: Counter[str] = Counter()
    reached = _reached(db)
    for name in (chunks.COLLECTION, outcomes.COLLECTION):
        doomed = [one["_id"] for one in db[name].find({}, {"jobId": 1, "epoch": 1, "n": 1}) if _is_later(one, reached)]
        for start in range(0, len(doomed), BATCH):
            db[name].delete_many({"_id": {"$in": doomed[start : start + BATCH]}})
        removed[f"{name} from after their job was read"] += len(doomed)
    return removed


def _reached(db: Db) -> dict[str, tuple[int, int]]:
    """Return the epoch of each job, and how many chunks its plan has laid out in it."""
    found = db[jobs.COLLECTION].find({}, {"epoch": 1, "plan.chunks": 1})
    return {one["_id"]: (int(one["epoch"]), int(one["plan"]["chunks"])) for one in found}


def _is_later(one: Json, reached: dict[str, tuple[int, int]]) -> bool:
    if one["jobId"] not in reached:
        return True
    return (int(one["epoch"]), int(one["n"])) >= reached[one["jobId"]]


def _remove_broken_artifacts(db: Db, owners: Sequence[str]) -> Counter[str]:
    """Remove what can't be downloaded whole: its bytes were deleted while it was read, for its time was up."""
    removed: Counter[str] = Counter()
    for owner in (MAIN, *owners):
        library = database_of(db, owner)
        whole = set(_whole_files(library))
        gone = [one["_id"] for one in library[artifacts.FILES].find({}, {"_id": 1}) if one["_id"] not in whole]
        artifacts.delete_files(library, gone)
        removed["files without all of their bytes"] += len(gone)
        for one in library[artifacts.COLLECTION].find({}, {"segments": 1}):
            files = {segment["file"] for segment in one["segments"] if segment.get("file") is not None}
            if files - whole:
                library[artifacts.COLLECTION].delete_one({"_id": one["_id"]})
                removed["artifacts without all of their files"] += 1
    return removed


def _whole_files(library: Db) -> Iterator[str]:
    for file in library[artifacts.FILES].find({}, {"length": 1, "chunkSize": 1}):
        wanted = -(-int(file["length"]) // int(file["chunkSize"]))
        if library[artifacts.CHUNKS].count_documents({"files_id": file["_id"]}) >= wanted:
            yield file["_id"]


def _indexes_to_build(db: Db) -> list[str]:
    """Say which indexes have to be built where their folder did not come along; the job does so by itself."""
    return [
        f"the index {pointer.name} of {pointer.owner} needs its folder, or a job vector_index"
        for pointer in indexes.find_all(db)
    ]


def without_duplicates(library: Db, name: str, definition: Json) -> list[str]:
    """Of documents that a unique index can't hold together keep the last by id; return what was removed, in words.

    There are some where one was deleted and written anew under another id while its collection was read.
    """
    fields = list(definition["key"])
    key: dict[str, Any] = {field.replace(".", "_"): f"${field}" for field in fields}
    indexed = definition.get("partialFilterExpression", {})
    if definition.get("sparse"):
        indexed = {"$or": [{field: {"$exists": True}} for field in fields]}
    groups = library[name].aggregate(
        [
            {"$match": indexed},
            {"$sort": {"_id": 1}},
            {"$group": {"_id": key, "ids": {"$push": "$_id"}, "count": {"$sum": 1}}},
            {"$match": {"count": {"$gt": 1}}},
        ],
        allowDiskUse=True,
    )
    doomed = [own_id for group in groups for own_id in group["ids"][:-1]]
    for start in range(0, len(doomed), BATCH):
        library[name].delete_many({"_id": {"$in": doomed[start : start + BATCH]}})
    return [f"{len(doomed):,} documents of {library.name}.{name} removed: later ones have the same key"]
