"""The cells of a CSV file: values that are read back as what they were, each by its looks alone.

Empty is a field that is not there; ``null``, ``true``, ``3``, ``3.0``, ``NaN``, a moment (ISO 8601 with its zone) and
the 24 hexadecimal digits of an ObjectId stand for themselves; lists and whatever else BSON has are Extended JSON.
Anything else is text. Text that looks like one of those, or like a formula to a spreadsheet, stands in JSON's quotes.
"""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any, Final

from bson.objectid import ObjectId

from workers.export.extended_json import date_text, from_text, to_text

MISSING: Final = object()
WORDS = {
    "null": None,
    "true": True,
    "false": False,
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}
INT64 = 2**63
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula to some spreadsheet (OWASP, CSV injection), East Asian keyboards' wide forms included."""
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?", re.IGNORECASE)
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")


def write(value: Any) -> str:
    """Return the cell that holds a BSON value."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if _looks_special(value) else value
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "NaN" if value != value else f"{'-' * (value < 0)}Infinity"
    if isinstance(value, datetime):
        return date_text(value)
    return str(value) if isinstance(value, ObjectId) else to_text(value)


def write_name(name: str) -> str:
    """Return the cell that names a column: itself, or in JSON's quotes where it looks like them, or like a formula."""
    return json.dumps(name, ensure_ascii=False) if name.startswith(('"', *FORMULA_STARTS)) else name


def read_name(cell: str) -> str:
    """Return the name of a column; strangers' names may begin with a quote and be no JSON."""
    try:
        return str(_quoted(cell)) if cell.startswith('"') else cell
    except ValueError:
        return cell


def read(cell: str) -> Any:
    """Return the value of a cell, or `MISSING`. Raises `ValueError` where it begins like JSON and is none."""
    if not cell:
        return MISSING
    first = cell[0]
    if first in "{[":
        return from_text(cell)
    if first == '"':
        return _quoted(cell)
    return _plain(cell)


def _quoted(cell: str) -> Any:
    value = json.loads(cell)
    if not isinstance(value, str):
        raise ValueError("it begins with a quote and is no text")
    return value


def _plain(cell: str) -> Any:
    """Return what a cell without quotes or brackets stands for: itself, if it looks like nothing else."""
    if cell in WORDS:
        return WORDS[cell]
    if cell[0] in "-0123456789abcdef":
        if _INTEGER.fullmatch(cell) and -INT64 <= (number := int(cell)) < INT64:
            return -0.0 if cell == "-0" else number
        if _NUMBER.fullmatch(cell) and not _INTEGER.fullmatch(cell):
            return float(cell)
        if _OBJECT_ID.fullmatch(cell):
            return ObjectId(cell)
        if _MOMENT.fullmatch(cell):
            return _moment(cell)
    return cell


def _moment(cell: str) -> Any:
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return cell


def _looks_special(text: str) -> bool:
    return not text or text[0] in '{["' or text.startswith(FORMULA_STARTS) or _plain(text) is not text
