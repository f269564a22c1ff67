"""Ranges of `_id`, in which a whole collection is worked through, laid out lazily and each in bounded time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bson import json_util
from bson.objectid import ObjectId
from pydantic import Field

from shared.model import Body, Db, Json

SIZE = 20_000
"""Documents in a range, as counted when it is laid out; more in the largest collections."""

RANGES_MAX = 32
"""Into about so many ranges a collection is split at most: on some servers a query costs the more, the more documents
stand beside its range."""

BRACKETS = ("number", "string", "objectId")
"""The types of ids that are split; MongoDB compares ids within a type only. All others together make one range."""

LOWEST: Mapping[str, Any] = {"number": -math.inf, "string": "", "objectId": ObjectId(bytes(12))}
"""The first id of each; what is no number at all is among the others."""

NOT_OURS = ("system.",)


class IdRange(Body):
    """Some documents of a collection by their ids; without any bound, all of it."""

    collection: str
    type: str | None = Field(default=None, description="The ids' type: one that is split, or `other`")
    after: str | None = Field(default=None, description="Ids above this one, in extended JSON")
    up_to: str | None = Field(default=None, description="Ids up to this one, in extended JSON")

    def query(self) -> Json:
        """Return the filter that finds exactly these documents."""
        if self.type is None:
            return {}
        if self.type == "other":
            return {"$or": [{"_id": {"$not": {"$type": list(BRACKETS)}}}, {"_id": float("nan")}]}
        bounds: Json = {"$gte": LOWEST[self.type]} if self.after is None else {"$gt": read_id(self.after)}
        if self.up_to is not None:
            bounds["$lte"] = read_id(self.up_to)
        return {"_id": bounds}


def write_id(value: Any) -> str:
    """Return an id as text that `read_id` reads back."""
    return json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS)


def read_id(text: str) -> Any:
    """Return the id that a text stands for."""
    return json_util.loads(text, json_options=json_util.CANONICAL_JSON_OPTIONS)


def collections_of(db: Db) -> list[str]:
    """Return the names of a database's collections, by name; views and the server's own are none of them."""
    found = db.list_collections(filter={"type": "collection"})
    return sorted(one["name"] for one in found if not one["name"].startswith(NOT_OURS))


def ranges_of(db: Db, collection: str, *, behind: IdRange | None = None, size: int | None = None) -> Iterator[IdRange]:
    """Yield ranges that together hold every document of a collection, or those behind the last one that is known."""
    if size is None:
        documents = db[collection].estimated_document_count()
        size = max(SIZE, documents // RANGES_MAX)
        if behind is None and documents <= size:
            yield IdRange(collection=collection)
            return
    if behind is not None and behind.type in (None, "other"):
        return
    start = BRACKETS.index(behind.type) if behind is not None and behind.type is not None else 0
    for bracket in BRACKETS[start:]:
        is_begun = behind is not None and behind.type == bracket
        if is_begun and behind is not None and behind.up_to is None:
            continue
        yield from _within(db, collection, bracket, behind.up_to if is_begun and behind else None, size)
    yield IdRange(collection=collection, type="other")


def _within(db: Db, collection: str, bracket: str, after: str | None, size: int) -> Iterator[IdRange]:
    while True:
        here = IdRange(collection=collection, type=bracket, after=after)
        # In the order of the hinted index, without a sort, for servers that would read all matches first.
        found = db[collection].find(here.query(), {"_id": 1}).hint([("_id", 1)]).skip(size - 1).limit(1)
        last = next(iter(found), None)
        if last is None:
            yield here
            return
        up_to = write_id(last["_id"])
        yield here.model_copy(update={"up_to": up_to})
        after = up_to
