"""BSON values as MongoDB Extended JSON v2: relaxed with plain numbers, or canonical with each type's width.

Specification: https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import json_util
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry
from bson.json_util import JSONMode, JSONOptions
from bson.objectid import ObjectId

from shared.model import Json

_READING: dict[str, Any] = {
    "tz_aware": True,
    "tzinfo": UTC,
    "datetime_conversion": DatetimeConversion.DATETIME_AUTO,
}
RELAXED = JSONOptions(json_mode=JSONMode.RELAXED, **_READING)
CANONICAL = JSONOptions(json_mode=JSONMode.CANONICAL, **_READING)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class JavaScript:
    """A `Code`, which is no text here: as the text that it is for pymongo it would come back as one."""

    code: Code


class _CodeDecoder(TypeDecoder):
    """Reads `Code` as `JavaScript`."""

    bson_type = Code

    def transform_bson(self, value: Code) -> JavaScript:
        """Return the code as something that is no text."""
        return JavaScript(value)


CODEC: CodecOptions[Json] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    # A date outside of what Python can hold must not keep a document from being exported.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    type_registry=TypeRegistry([_CodeDecoder()]),
)
"""How documents are read that are to be written out."""


def to_text(value: Any, *, is_canonical: bool = False) -> str:
    """Return a BSON value as a line of Extended JSON."""
    if is_canonical:
        return json_util.dumps(_plain(value), json_options=CANONICAL, ensure_ascii=False, separators=(",", ":"))
    try:
        # C all the way, but for the values that JSON has no form for.
        return _encode(value)
    except ValueError:  # a number that is none, or infinite
        return json_util.dumps(_plain(value), json_options=RELAXED, ensure_ascii=False, separators=(",", ":"))


def from_text(text: str | bytes) -> Any:
    """Return the value that Extended JSON of either form stands for. Raises `ValueError`."""
    try:
        return json_util.loads(text, json_options=RELAXED)
    except ValueError:
        raise
    except Exception as error:  # bson raises what it likes over a malformed {"$oid": ...}
        raise ValueError(f"it is no Extended JSON: {error}") from error


def date_text(moment: datetime) -> str:
    """Return a moment as ISO 8601 in UTC, with milliseconds."""
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z".rjust(24, "0")


def _plain(value: Any) -> Any:
    """Return a value with the code in it as pymongo has it."""
    if isinstance(value, JavaScript):
        return value.code
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _special(value: Any) -> Any:
    if isinstance(value, ObjectId):
        return {"$oid": str(value)}
    if isinstance(value, datetime) and value >= EPOCH:
        return {"$date": date_text(value)}
    if isinstance(value, JavaScript):
        value = value.code
    return json_util.default(value, json_options=RELAXED)


_encode: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_special
).encode


def date_of(milliseconds: int) -> Any:
    """Return the moment so many milliseconds after 1970, as pymongo reads it under `CODEC`."""
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return from_text(f'{{"$date":{{"$numberLong":"{milliseconds}"}}}}')
