"""Checks on the indexes of a collection: those that are missing, too many, of no use, or could not be built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from pymongo import IndexModel
from pymongo.errors import OperationFailure

from shared.findings import Severity
from shared.model import Json
from shared.store import database
from workers.database.checks.check import CollectionCheck, Found, Scene
from workers.database.checks.collections import duplicated

UNUSED_AFTER = timedelta(days=7)
OPTIONS = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression", "collation", "hidden")
"""What makes two indexes of the same keys different."""


class _Noting:
    """Stands in for a collection: notes the indexes that it is asked to have, and makes none."""

    def __init__(self) -> None:
        self.wanted: list[IndexModel] = []

    def create_indexes(self, models: Sequence[IndexModel]) -> None:
        self.wanted += models


class _NotingAll(dict[str, _Noting]):
    """Stands in for a database."""

    def __missing__(self, name: str) -> _Noting:
        return self.setdefault(name, _Noting())


def expected_indexes(*, is_operator: bool) -> Mapping[str, Sequence[IndexModel]]:
    """Return the indexes that queries rely on, ours and clients', as the modules of the collections make them."""
    noting: Any = _NotingAll()
    (database.ensure_indexes if is_operator else database.ensure_library_indexes)(noting)
    return {name: tuple(one.wanted) for name, one in noting.items()}


def shape(index: Mapping[str, Any]) -> tuple[tuple[tuple[str, Any], ...], tuple[tuple[str, Any], ...]]:
    """Return what an index is, whatever it is called: its keys, and the options that matter."""
    keys = tuple((name, _direction(kind)) for name, kind in dict(index["key"]).items())
    return keys, tuple((name, index[name]) for name in OPTIONS if index.get(name))


def _direction(kind: Any) -> Any:
    return int(kind) if isinstance(kind, int | float) else kind


def missing(scene: Scene) -> list[IndexModel]:
    """Return the indexes that should be there and are not."""
    there = {shape(one) for one in scene.indexes}
    return [one for one in scene.expected_indexes.get(scene.collection, ()) if shape(one.document) not in there]


def redundant(scene: Scene) -> list[tuple[Json, Json]]:
    """Return each index that is only the beginning of another one, with that one."""
    there = scene.indexes
    wanted = {shape(one.document) for one in scene.expected_indexes.get(scene.collection, ())}
    found = []
    for one in there:
        keys, options = shape(one)
        if options or one["name"] == "_id_" or (keys, options) in wanted:
            continue
        longer = (two for two in there if two is not one and _covers(two, one, keys))
        if (cover := next(longer, None)) is not None:
            found.append((one, cover))
    return found


def _covers(longer: Json, one: Json, keys: tuple[tuple[str, Any], ...]) -> bool:
    others, options = shape(longer)
    is_whole = all(name in ("unique", "expireAfterSeconds") for name, _ in options)
    is_twin = others == keys
    return is_whole and others[: len(keys)] == keys and (not is_twin or longer["name"] < one["name"] or bool(options))


class MissingIndex(CollectionCheck):
    """An index that queries rely on is not there."""

    id = "missing_index"
    title = "Index missing"
    group = "indexes"
    severity = Severity.MEDIUM
    cost = "metadata"
    why = "Queries look through the whole collection in its place; a unique one also keeps duplicates out."
    repair = "It is built, a unique one after the duplicates are set aside."

    def concerns(self, scene: Scene) -> bool:
        """Whether any index is expected."""
        return bool(scene.expected_indexes.get(scene.collection))

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield the indexes that are missing but could be built."""
        absent = [one for one in missing(scene) if _obstacle(one, scene) is None]
        names = [str(one.document["name"]) for one in absent]
        yield self.tally(scene, len(absent), names, note=", ".join(names) or None)


class UnbuiltUnique(CollectionCheck):
    """A unique index is missing, and can't be built as the documents are."""

    id = "unbuilt_unique"
    title = "Unique index that can't be built"
    group = "indexes"
    severity = Severity.HIGH
    why = "Nothing keeps further duplicates out."
    repair = "It is built after the duplicates are set aside."

    def concerns(self, scene: Scene) -> bool:
        """Whether a unique index is expected."""
        return any(one.document.get("unique") for one in scene.expected_indexes.get(scene.collection, ()))

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield the indexes that stand in the way of themselves, and why."""
        found = [(str(one.document["name"]), why) for one in missing(scene) if (why := _obstacle(one, scene))]
        note = "; ".join(f"{name}: {why}" for name, why in found) or None
        yield self.tally(scene, len(found), [name for name, _ in found], note=note)


def _obstacle(model: IndexModel, scene: Scene) -> str | None:
    """Return what keeps a unique index from being built, or None."""
    keys = tuple(dict(model.document["key"]))
    if not model.document.get("unique") or scene.form is None or keys != scene.form.unique:
        return None
    count = sum(1 for _ in duplicated(scene))
    return f"{count} keys have several documents" if count else None


class RedundantIndex(CollectionCheck):
    """An index is only the beginning of another one."""

    id = "redundant_index"
    title = "Index that is the beginning of another"
    group = "indexes"
    severity = Severity.LOW
    cost = "metadata"
    why = "Each write keeps it up to date, and no query needs it: the longer one serves them all."
    repair = "It is dropped; undo builds it again."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield those indexes."""
        found = redundant(scene)
        note = "; ".join(f"{one['name']} is the beginning of {longer['name']}" for one, longer in found) or None
        yield self.tally(scene, len(found), [one["name"] for one, _ in found], note=note)


class UnusedIndex(CollectionCheck):
    """No query has used an index for a week."""

    id = "unused_index"
    title = "Index without use"
    group = "indexes"
    severity = Severity.LOW
    cost = "metadata"
    why = "Each write keeps it up to date."
    advice = "Drop it, if no job of the month or the year needs it."

    def look(self, scene: Scene) -> Iterator[Found]:
        """Yield those that the server has counted no use of since a week or more."""
        try:
            usage = list(scene.db[scene.collection].aggregate([{"$indexStats": {}}]))
        except OperationFailure as error:
            yield self.skipped(scene, f"the server does not count the uses of its indexes (code {error.code})")
            return
        since = [one.get("accesses", {}).get("since") for one in usage]
        if any(one is None for one in since):
            yield self.skipped(scene, "the server does not say since when it has counted the uses of its indexes")
            return
        if any(one > scene.moment - UNUSED_AFTER for one in since):
            yield self.skipped(scene, f"the server has counted for less than {UNUSED_AFTER.days} days")
            return
        wanted = {shape(one.document) for one in scene.expected_indexes.get(scene.collection, ())}
        idle = [one for one in usage if one["name"] != "_id_" and int(one["accesses"]["ops"]) == 0]
        names = [one["name"] for one in idle if shape(one) not in wanted]
        yield self.tally(scene, len(names), names, note=", ".join(names) or None)
