"""Reading documents that clients write: nothing in them is sure to be what it should."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.collection import Collection

from shared.model import Db, Json

NAME_MAX = 512  # characters of an id

TOLERANT: CodecOptions[Json] = CodecOptions(
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,  # BSON knows years that Python doesn't
    unicode_decode_error_handler="replace",
)


def tolerant(db: Db, collection: str) -> Collection[Json]:
    """Return a collection in which no value is beyond reading."""
    return db.get_collection(collection, codec_options=TOLERANT)


def name_of(value: Any) -> str | None:
    """Return an id, or None if it can't be one."""
    return value if isinstance(value, str) and 0 < len(value) <= NAME_MAX else None


def moment_of(value: Any) -> datetime | None:
    """Return a time that was stored as such or in the words of ISO 8601 (UTC if they name no zone), or None."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def number_of(value: Any, lowest: float, highest: float) -> float | None:
    """Return a number within bounds, or None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number and lowest <= value <= highest else None
