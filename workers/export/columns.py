"""The columns that a part has, and those of the whole: each with the kind of value that all its values have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

from shared.errors import ItemFailed

EXACT = 2**53
"""Up to here a double holds every whole number."""
COLUMNS_MAX = 2_000


class Kind(StrEnum):
    """What the values of a column are; what no single kind holds is JSON."""

    EMPTY = "empty"  # nothing but nulls so far
    BOOL = "bool"
    INT = "int"  # whole, and exact as a double
    LONG = "long"  # whole, up to 64 bits
    DOUBLE = "double"
    STRING = "string"
    DATE = "date"
    OBJECT_ID = "objectId"
    DECIMAL = "decimal"
    BINARY = "binary"
    JSON = "json"


_KINDS: Mapping[type, Kind] = {
    type(None): Kind.EMPTY,
    bool: Kind.BOOL,
    float: Kind.DOUBLE,
    str: Kind.STRING,
    datetime: Kind.DATE,
    DatetimeMS: Kind.DATE,
    ObjectId: Kind.OBJECT_ID,
    Decimal128: Kind.DECIMAL,
    bytes: Kind.BINARY,
}


def kind_of(value: Any) -> Kind:
    """Return the kind of one value."""
    found = _KINDS.get(type(value))
    if found is None:
        found = (Kind.INT if -EXACT <= value <= EXACT else Kind.LONG) if isinstance(value, int) else Kind.JSON
    return found


def joined(one: Kind, other: Kind) -> Kind:
    """Return the kind that holds the values of both."""
    if one is other or other is Kind.EMPTY:
        return one
    if one is Kind.EMPTY:
        return other
    both = {one, other}
    if both == {Kind.INT, Kind.LONG}:
        return Kind.LONG
    return Kind.DOUBLE if both == {Kind.INT, Kind.DOUBLE} else Kind.JSON


def columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """Return the columns of some rows and their kinds, in the order in which they first come up."""
    found: dict[str, Kind] = {}
    for row in rows:
        for name, value in row.items():
            known = found.get(name)
            kind = kind_of(value)
            if known is not kind:
                found[name] = kind if known is None else joined(known, kind)
    return checked(found)


def union(parts: Iterable[Mapping[str, str]]) -> dict[str, Kind]:
    """Return the columns of several parts."""
    found: dict[str, Kind] = {}
    for part in parts:
        for name, kind in part.items():
            found[name] = joined(found.get(name, Kind.EMPTY), Kind(kind))
    return checked(found)


def checked(columns: dict[str, Kind]) -> dict[str, Kind]:
    """Return the columns, if they are not too many for a table. Raises `ItemFailed`."""
    if len(columns) > COLUMNS_MAX:
        raise ItemFailed(
            "too_many_columns",
            f"The documents have more than {COLUMNS_MAX:,} different fields: choose some by `fields`, or export jsonl.",
        )
    return columns
