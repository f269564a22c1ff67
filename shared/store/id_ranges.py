"""Ranges of `_id`, in which a whole collection is worked through, laid out lazily and each in bounded time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from bson import json_util
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.json_util import JSONMode, JSONOptions
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from pydantic import Field
from pymongo import ASCENDING
from pymongo.collection import Collection

from shared.model import Body, Db, Json

SIZE = 50_000
"""Documents in a range, as counted when it is laid out; more in the largest collections."""

RANGES_MAX = 32
"""Into about so many ranges a collection is split at most: on some servers a query costs the more, the more documents
stand beside its range."""

SHOWN_MAX = 200
"""Characters of an id in what people read."""

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

OTHER = "other"
REST = ["minKey", "undefined", "null", "array", "regex", "dbPointer", "javascript", "javascriptWithScope", "maxKey"]

_BRACKETS: Mapping[type, str] = {
    **dict.fromkeys((int, Int64, float, Decimal128), "number"),
    str: "string",
    dict: "object",
    **dict.fromkeys((bytes, Binary), "binData"),
    ObjectId: "objectId",
    bool: "bool",
    **dict.fromkeys((datetime, DatetimeMS), "date"),
    Timestamp: "timestamp",
}

AUTO = DatetimeConversion.DATETIME_AUTO
CODEC: CodecOptions[Json] = CodecOptions(tz_aware=True, datetime_conversion=AUTO)
"""Dates that Python's can't hold are ids, too."""
_CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True, datetime_conversion=AUTO)

NOT_OURS = ("system.",)
_BY_ID = (("_id", ASCENDING),)


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
        if self.type == OTHER:
            return {"$or": [{"_id": {"$not": {"$type": list(LOWEST)}}}, {"_id": float("nan")}]}
        bounds: Json = {"$gte": LOWEST[self.type]} if self.after is None else {"$gt": read_id(self.after)}
        if self.up_to is not None:
            bounds["$lte"] = read_id(self.up_to)
        return {"_id": bounds}


def write_id(value: Any) -> str:
    """Return an id as text that `read_id` reads back."""
    return json_util.dumps(value, json_options=_CANONICAL)


def shown_id(value: Any) -> str:
    """Return an id as text for people, cut where it is long: an id may be as large as a document."""
    text = write_id(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def read_id(text: str) -> Any:
    """Return the id that a text stands for."""
    return json_util.loads(text, json_options=_CANONICAL)


def collections_of(db: Db) -> list[str]:
    """Return the names of a database's collections, by name; views and the server's own are none of them."""
    found = db.list_collections(filter={"type": "collection"})
    return sorted(one["name"] for one in found if not one["name"].startswith(NOT_OURS))


def ranges_of(db: Db, collection: str, *, behind: IdRange | None = None, size: int | None = None) -> Iterator[IdRange]:
    """Yield ranges that together hold every document of a collection, or those behind the last one that is known.

    Each holds up to `size` documents as counted now; the last one, if ids of rare types are there, may hold more.
    Without a size, some tens of thousands: on a server that keeps no order by a hint they may be far from alike, but
    are found in half the time of a sort.
    """
    is_exact = size is not None
    if behind is None or size is None:
        documents = db[collection].estimated_document_count()
        size = size or max(SIZE, documents // RANGES_MAX)
        if behind is None and documents <= size:
            yield IdRange(collection=collection)
            return
    if behind is not None and behind.type in (None, OTHER):
        return
    ids = db.get_collection(collection, codec_options=CODEC)
    for bracket in _brackets(ids, behind):
        is_begun = behind is not None and behind.type == bracket
        if is_begun and behind is not None and behind.up_to is None:
            continue
        whole = IdRange(collection=collection, type=bracket)
        if bracket == OTHER:
            yield whole
        else:
            yield from _within(ids, whole, behind.up_to if is_begun and behind else None, size, is_exact=is_exact)


def _brackets(ids: Collection[Json], behind: IdRange | None) -> list[str]:
    """Return the types that ids have, from that of the range `behind` on, in MongoDB's order."""
    found = [*LOWEST, OTHER]
    found = found[found.index(behind.type) :] if behind is not None and behind.type is not None else found
    left = list(found)
    # One question more than there are types, each answered from a few places of the index where the server can.
    while some := ids.find_one({"$or": [clause for one in left for clause in _clauses(one)]}, {"_id": 1}, hint=_BY_ID):
        bracket = _bracket(some["_id"])
        if bracket not in left:  # a server that takes this type for another one
            return found
        left.remove(bracket)
        if not left:
            break
    return [one for one in found if one not in left]


def _clauses(bracket: str) -> list[Json]:
    return [{"_id": {"$type": REST}}, {"_id": math.nan}] if bracket == OTHER else [{"_id": {"$gte": LOWEST[bracket]}}]


def _bracket(value: Any) -> str:
    # What is no number at all stands below all numbers, and no bound finds it.
    is_none = value.to_decimal().is_nan() if isinstance(value, Decimal128) else value != value
    return OTHER if is_none else _BRACKETS.get(type(value), OTHER)


def _within(
    ids: Collection[Json], whole: IdRange, after: str | None, size: int, *, is_exact: bool
) -> Iterator[IdRange]:
    while True:
        here = whole.model_copy(update={"after": after})
        found_here = ids.find(here.query(), {"_id": 1})
        # The embedded server finds by a hinted index, but keeps an order of its own, even where a sort is wanted, too.
        in_order = found_here.sort("_id", ASCENDING) if is_exact else found_here.hint(_BY_ID)
        found = list(in_order.skip(size - 1).limit(1))
        if not found:
            yield here
            return
        after = write_id(found[0]["_id"])
        yield here.model_copy(update={"up_to": after})
