"""Nested documents as flat rows and back: the names of fields joined by dots, lists and empty documents left whole.

A dot in a field's own name is written ``\\.``, and a backslash ``\\\\``; a field that is called like the column of
nulls has a backslash before its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from shared.model import Json

NULLS = "__null__"
"""The column of a table that lists which fields of a row are null."""
_DOT = re.compile(r"(?<!\\)(?:\\\\)*\.")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def flatten(document: Mapping[str, Any]) -> Json:
    """Return a document's leaves by the names of their columns, in order."""
    row: Json = {}
    _flatten(document, "", row)
    return row


def _flatten(document: Mapping[str, Any], prefix: str, row: Json) -> None:
    for key, value in document.items():
        name = prefix + _escaped(key)
        if type(value) is dict and value:
            _flatten(value, f"{name}.", row)
        else:
            row[name] = value


@lru_cache(maxsize=4096)
def _escaped(key: str) -> str:
    if key == NULLS:
        return f"\\{key}"
    return key.replace("\\", "\\\\").replace(".", "\\.") if "." in key or "\\" in key else key


@lru_cache(maxsize=4096)
def parts_of(column: str) -> tuple[str, ...]:
    """Return the names of fields that a column's name is made of."""
    if "." not in column and "\\" not in column:
        return (column,)
    parts, start = [], 0
    for found in _DOT.finditer(column):
        parts.append(column[start : found.end() - 1])
        start = found.end()
    parts.append(column[start:])
    return tuple(_ESCAPED.sub(r"\1", part) for part in parts)


def unflatten(row: Mapping[str, Any]) -> Json:
    """Return the document that a row was. Raises `ValueError` where one column lies in another that is no document."""
    document: Json = {}
    for column, value in row.items():
        *path, last = parts_of(column)
        place: Any = document
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"the column {column!r} lies in another that holds a value")
        if last in place:
            raise ValueError(f"there are two columns {column!r}")
        place[last] = value
    return document
