"""Ranges of `_id`, in which a whole collection is worked through, laid out lazily and each in bounded time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.json_util import JSONMode, JSONOptions
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from pydantic import Field

from shared.model import Body, Db, Json

SIZE = 20_000
"""Documents in a range, as counted when it is laid out; more in the largest collections."""

RANGES_MAX = 32
"""Into about so many ranges a collection is split at most: on some servers a query costs the more, the more documents
stand beside its range."""

LOWEST: Mapping[str, Any] = {
    "number": -math.inf,
    "string": "",
    "object": {},
    "binData": b"",
    "objectId": ObjectId(bytes(12)),
    "bool": False,
    "date": DatetimeMS(-(2**63)),
    "timestamp": Timestamp(0, 0),
}
"""The first id of each type that is split, in MongoDB's order; it compares ids within a type only.

All others together, null and what is no number at all among them, make one range.
"""

AUTO = DatetimeConversion.DATETIME_AUTO
CODEC: CodecOptions[Json] = CodecOptions(tz_aware=True, datetime_conversion=AUTO)
"""Dates that Python's can't hold are ids, too."""
_CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True, datetime_conversion=AUTO)

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
            return {"$or": [{"_id": {"$not": {"$type": list(LOWEST)}}}, {"_id": float("nan")}]}
        bounds: Json = {"$gte": LOWEST[self.type]} if self.after is None else {"$gt": read_id(self.after)}
        if self.up_to is not None:
            bounds["$lte"] = read_id(self.up_to)
        return {"_id": bounds}


def write_id(value: Any) -> str:
    """Return an id as text that `read_id` reads back."""
    return json_util.dumps(value, json_options=_CANONICAL)


def read_id(text: str) -> Any:
    """Return the id that a text stands for."""
    return json_util.loads(text, json_options=_CANONICAL)


def collections_of(db: Db) -> list[str]:
    """Return the names of a database's collections, by name; views and the server's own are none of them."""
    found = db.list_collections(filter={"type": "collection"})
    return sorted(one["name"] for one in found if not one["name"].startswith(NOT_OURS))


def ranges_of(db: Db, collection: str, *, behind: IdRange | None = None, size: int | None = None) -> Iterator[IdRange]:
    """Yield ranges that together hold every document of a collection, or those behind the last one that is known.

    Each holds up to `size` documents as counted now; the last one, of ids of rare types, may hold more.
    """
    documents = db[collection].estimated_document_count()
    size = size or max(SIZE, documents // RANGES_MAX)
    if behind is None and documents <= size:
        yield IdRange(collection=collection)
        return
    if behind is not None and behind.type in (None, "other"):
        return
    for bracket in _brackets(behind):
        is_begun = behind is not None and behind.type == bracket
        if is_begun and behind is not None and behind.up_to is None:
            continue
        yield from _within(db, collection, bracket, behind.up_to if is_begun and behind else None, size)
    yield IdRange(collection=collection, type="other")


def _brackets(behind: IdRange | None) -> list[str]:
    found = list(LOWEST)
    return found[found.index(behind.type) :] if behind is not None and behind.type is not None else found


def _within(db: Db, collection: str, bracket: str, after: str | None, size: int) -> Iterator[IdRange]:
    ids = db.get_collection(collection, codec_options=CODEC)
    whole = IdRange(collection=collection, type=bracket)
    # In the order of the hinted index, without a sort, for servers that would read all matches first.
    if not list(ids.find(whole.query(), {"_id": 1}).hint([("_id", 1)]).limit(1)):
        return
    while True:
        here = whole.model_copy(update={"after": after})
        found = list(ids.find(here.query(), {"_id": 1}).hint([("_id", 1)]).skip(size - 1).limit(1))
        if not found:
            yield here
            return
        after = write_id(found[0]["_id"])
        yield here.model_copy(update={"up_to": after})
