"""Ranges of `_id`: how a whole collection is read in parts, each by its index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bson import json_util
from bson.json_util import JSONMode, JSONOptions
from pymongo import ASCENDING
from pymongo.collection import Collection

from shared.model import Body, Cursor, Json

BATCH = 10_000
BRACKETS = ("null", "number", "string", "object", "binData", "objectId", "bool", "date", "timestamp")
"""The types that an `_id` may have, as ``$type`` names them; a comparison reaches no further than one of them."""
_NUMBERS = frozenset(("int", "long", "double", "decimal"))
_CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL)


class IdRange(Body):
    """The documents between two ids that both exist, in canonical Extended JSON; both belong to it."""

    first: str
    last: str


def query(span: IdRange) -> Json:
    """Return the filter of a range."""
    return {"_id": {"$gte": _read(span.first), "$lte": _read(span.last)}}


def split(collection: Collection[Json], rows: int, cursor: Cursor | None) -> Iterator[tuple[IdRange, Cursor]]:
    """Yield ranges of up to so many documents, and the cursor behind each, in a fixed order.

    Every document that is there from the beginning to the end of the walk lies in one of them.
    """
    state = dict(cursor or {})
    brackets = state.get("brackets") or _brackets(collection)
    while brackets:
        for first, last in _within(collection, brackets[0], rows, state.get("last")):
            yield IdRange(first=first, last=last), {"brackets": brackets, "last": last}
        brackets, state = brackets[1:], {}


def _brackets(collection: Collection[Json]) -> list[str]:
    """Return the types of id that the collection has."""
    groups: list[Mapping[str, Any]] = [{"$group": {"_id": {"$type": "$_id"}}}]
    found = {"number" if one["_id"] in _NUMBERS else one["_id"] for one in collection.aggregate(groups)}
    return [bracket for bracket in BRACKETS if bracket in found]


def _within(collection: Collection[Json], bracket: str, rows: int, after: str | None) -> Iterator[tuple[str, str]]:
    """Yield the first and the last id of each range in one bracket, behind an id of it."""
    where = {"_id": {"$type": bracket} if after is None else {"$gt": _read(after)}}
    ids = collection.find(where, {"_id": 1}).sort("_id", ASCENDING).batch_size(BATCH)
    first = last = None
    count = 0
    for document in ids:
        last = document["_id"]
        first, count = (last, 1) if count == 0 else (first, count + 1)
        if count == rows:
            yield _write(first), _write(last)
            count = 0
    if count:
        yield _write(first), _write(last)


def _write(value: Any) -> str:
    return json_util.dumps(value, json_options=_CANONICAL)


def _read(text: str) -> Any:
    return json_util.loads(text, json_options=_CANONICAL)
