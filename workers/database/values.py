"""Documents as Python values and as bytes: decoding that keeps every type, MongoDB's names of types, hashes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, cast

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from shared.model import Db, Json

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)
"""Dates beyond what Python's can hold are kept as they are, in place of an error for the whole batch."""
BATCH = 1000
"""Documents in an answer of the server: bounds the memory of whoever looks through a collection."""

_LENGTH = struct.Struct("<i")
_NAMES: Mapping[type, str] = {
    bool: "bool",
    Int64: "long",
    int: "int",
    float: "double",
    str: "string",
    datetime: "date",
    DatetimeMS: "date",
    dict: "object",
    list: "array",
    type(None): "null",
    ObjectId: "objectId",
    bytes: "binData",
    bson.Binary: "binData",
    Decimal128: "decimal",
    bson.Regex: "regex",
    bson.Timestamp: "timestamp",
    bson.MinKey: "minKey",
    bson.MaxKey: "maxKey",
}


def type_name(value: Any) -> str:
    """Return what MongoDB calls the type of a value."""
    return _NAMES.get(type(value), "unknown")


def as_number(value: Any) -> float | None:
    """Return a number as a float; None for what is none."""
    if isinstance(value, Decimal128):
        number = value.to_decimal()
        return math.nan if number.is_nan() else float(number)  # a signalling one does not become a float
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def is_after(value: Any, moment: datetime) -> bool:
    """Whether a date lies behind a moment; what is no date does not."""
    if isinstance(value, DatetimeMS):
        return int(value) > moment.timestamp() * 1000
    return isinstance(value, datetime) and value > moment


def decoded(raw: bytes) -> Json:
    """Return a document as Python values."""
    return bson.decode(raw, OPTIONS)


def encoded(document: Json) -> bytes:
    """Return a document as bytes."""
    return bson.encode(document, codec_options=OPTIONS)


def raw_documents(db: Db, collection: str, query: Json) -> Iterator[bytes]:
    """Yield the documents that a filter finds as they are stored."""
    for batch in raw_batches(db, collection, query):
        yield from split(batch)


def raw_batches(db: Db, collection: str, query: Json) -> Iterator[bytes]:
    """Yield the same in the batches in which the server sends them, one document behind the other."""
    yield from cast("Iterator[bytes]", db[collection].find_raw_batches(query, batch_size=BATCH))


def split(batch: bytes) -> Iterator[bytes]:
    """Yield each of the documents that stand one behind the other."""
    start = 0
    while start < len(batch):
        end = start + _LENGTH.unpack_from(batch, start)[0]
        yield batch[start:end]
        start = end
