"""Ranges of ids hold every document once, whatever its id is made of, and go on where they were left."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from bson.objectid import ObjectId

from shared.model import Db
from shared.store.id_ranges import IdRange, ranges_of

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
    b"bytes",
    True,
    datetime(2026, 1, 1, tzinfo=UTC),
]


def found(db: Db, ranges: list[IdRange]) -> list[str]:
    return sorted(repr(one["_id"]) for part in ranges for one in db["odd"].find(part.query()))


def test_every_document_is_in_exactly_one_range(db: Db) -> None:
    db["odd"].insert_many([{"_id": one} for one in IDS])

    ranges = list(ranges_of(db, "odd", size=3))

    assert len(ranges) > 8
    assert found(db, ranges) == sorted(map(repr, [one["_id"] for one in db["odd"].find()]))


def test_a_cursor_goes_on_behind_any_range(db: Db) -> None:
    db["odd"].insert_many([{"_id": one} for one in IDS])
    ranges = list(ranges_of(db, "odd", size=3))

    for place, behind in enumerate(ranges):
        again = IdRange.model_validate(behind.model_dump(mode="json", exclude_none=True))
        assert list(ranges_of(db, "odd", behind=again, size=3)) == ranges[place + 1 :]


def test_a_small_collection_is_one_range(db: Db) -> None:
    db["odd"].insert_many([{"_id": one} for one in IDS])

    assert [part.query() for part in ranges_of(db, "odd")] == [{}]
