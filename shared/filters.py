"""Filters that strangers may write: conditions on fields, and nothing that a server would run.

A condition is a value (equal to it) or an object of comparisons. MongoDB's own operators never come in from outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from bson.objectid import ObjectId
from pydantic import AfterValidator, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from shared.model import Body, Json

INT64 = 2**63
PATH_MAX = 256
CONDITIONS_MAX = 50
_OBJECT_ID = re.compile(r"[0-9a-f]{24}")


def checked_path(path: str) -> str:
    """Return the path of a field, names joined by dots. Raises `ValueError`."""
    if not path or "\0" in path or any(not part or part.startswith("$") for part in path.split(".")):
        raise ValueError("must be names of fields joined by dots, none of them empty or beginning with '$'")
    return path


FieldPath = Annotated[str, Field(max_length=PATH_MAX), AfterValidator(checked_path)]
Text = Annotated[StrictStr, Field(max_length=4096)]
Whole = Annotated[StrictInt, Field(ge=-INT64, lt=INT64)]
Number = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Scalar = Text | StrictBool | Whole | Number | None
Ordered = Text | Whole | Number


class Condition(Body):
    """Comparisons that must all hold; a text that is an ISO 8601 moment with its zone is also compared as a moment."""

    eq: Scalar = None
    in_: tuple[Scalar, ...] | None = Field(default=None, alias="in", max_length=1000, description="One of these")
    gt: Ordered | None = None
    gte: Ordered | None = None
    lt: Ordered | None = None
    lte: Ordered | None = None
    exists: bool | None = Field(default=None, description="Whether the field is there at all, null included")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one of eq, in, gt, gte, lt, lte, exists")
        return self


Filter = Annotated[dict[FieldPath, Condition | Scalar], Field(max_length=CONDITIONS_MAX)]
"""Conditions by the path of a field; all of them must hold."""


def to_query(conditions: Mapping[str, Condition | Scalar]) -> Json:
    """Return the query that holds where every condition does."""
    parts = [part for path, wanted in conditions.items() for part in _parts(path, wanted)]
    return {"$and": parts} if parts else {}


def _parts(path: str, wanted: Condition | Scalar) -> Iterator[Json]:
    if not isinstance(wanted, Condition):
        yield {path: {"$in": list(_meanings(wanted))}}
        return
    given = wanted.model_fields_set
    if "eq" in given:
        yield {path: {"$in": list(_meanings(wanted.eq))}}
    if wanted.in_ is not None:
        yield {path: {"$in": [meaning for one in wanted.in_ for meaning in _meanings(one)]}}
    for name in ("gt", "gte", "lt", "lte"):
        limit = getattr(wanted, name)
        if limit is not None:
            # Only values of a limit's own type are compared with it, so that no text is below a moment.
            yield _any_of([{path: {f"${name}": meaning}} for meaning in _meanings(limit)])
    if wanted.exists is not None:
        yield {path: {"$exists": wanted.exists}}


def _any_of(parts: Sequence[Json]) -> Json:
    return parts[0] if len(parts) == 1 else {"$or": list(parts)}


def _meanings(value: Any) -> Iterator[Any]:
    """Yield what a value may stand for: itself, and the moment or the ObjectId that JSON has no form for."""
    yield value
    if not isinstance(value, str):
        return
    if _OBJECT_ID.fullmatch(value):
        yield ObjectId(value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return
    if moment.tzinfo is not None:
        yield moment
