"""Ranges of ids hold every document once, whatever its id is made of, and go on where they were left."""

from __future__ import annotations

import itertools
import math
import random
from datetime import UTC, datetime
from typing import Any

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from bson.timestamp import Timestamp

from shared.model import Db
from shared.store.id_ranges import IdRange, ranges_of
from workers.database.values import OPTIONS

IDS: list[Any] = [
    *range(7),
    -3,
    2.5,
    -math.inf,
    math.inf,
    math.nan,
    *(f"text{n}" for n in range(9)),
    "",
    *(ObjectId() for _ in range(8)),
    ObjectId(bytes(12)),
    {"a": 1},
    {},
    {"a": 1, "b": 2},
    *(bytes([n]) for n in range(5)),
    b"",
    None,
    False,
    Timestamp(1, 1),
    DatetimeMS(-(10**17)),
    True,
    datetime(2026, 1, 1, tzinfo=UTC),
]


ONE_OF_EACH: list[Any] = [
    *(None, math.nan, Decimal128("2.5"), "text", {"a": 1}, b"bytes", Binary(b"uuid", 4), ObjectId(), True),
    *(datetime(2026, 1, 1, tzinfo=UTC), Timestamp(1, 1), MaxKey()),
]


def found(db: Db, ranges: list[IdRange]) -> list[str]:
    odd = db.get_collection("odd", codec_options=OPTIONS)
    return sorted(repr(one["_id"]) for part in ranges for one in odd.find(part.query()))


def test_every_document_is_in_exactly_one_range(db: Db) -> None:
    db["odd"].insert_many([{"_id": one} for one in IDS])

    ranges = list(ranges_of(db, "odd", size=3))

    assert len(ranges) > 8
    assert len(found(db, ranges)) == len(IDS)
    assert found(db, ranges) == found(db, [IdRange(collection="odd")])


def test_ids_of_the_common_types_are_split(db: Db) -> None:
    db["odd"].insert_many([{"_id": {"user": "ada", "track": n}} for n in range(10)])

    assert [len(found(db, [one])) for one in ranges_of(db, "odd", size=3)] == [3, 3, 3, 1]


def test_a_range_holds_what_was_asked_for_in_whatever_order_the_documents_came(db: Db) -> None:
    ids = [f"id{n:03}" for n in range(100)]
    random.Random(1).shuffle(ids)
    db["odd"].insert_many([{"_id": one} for one in ids])

    assert [len(found(db, [one])) for one in ranges_of(db, "odd", size=10)] == [10] * 10 + [0]


def test_types_of_ids_that_are_not_there_make_no_range(db: Db) -> None:
    for pair in itertools.combinations(ONE_OF_EACH, 2):
        db["odd"].drop()
        db["odd"].insert_many([{"_id": one} for one in pair])

        # What is split is cut behind its last id, for more may come.
        shapes = {tuple(len(found(db, [one])) for one in ranges_of(db, "odd", size=1))}

        # Where a server sorts ids of a type otherwise than it compares them, a range may hold more.
        assert shapes <= {(1, 0, 1, 0), (1, 0, 1), (1, 1, 0), (2, 0), (2,)}, pair


def test_a_cursor_goes_on_behind_any_range(db: Db) -> None:
    db["odd"].insert_many([{"_id": one} for one in IDS])
    ranges = list(ranges_of(db, "odd", size=3))

    for place, behind in enumerate(ranges):
        again = IdRange.model_validate(behind.model_dump(mode="json", exclude_none=True))
        assert list(ranges_of(db, "odd", behind=again, size=3)) == ranges[place + 1 :]


def test_a_small_collection_is_one_range(db: Db) -> None:
    db["odd"].insert_many([{"_id": one} for one in IDS])

    assert [part.query() for part in ranges_of(db, "odd")] == [{}]
