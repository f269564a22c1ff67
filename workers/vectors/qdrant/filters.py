"""Conditions in the words of Qdrant; what meets them is what meets them on this machine."""

import math
import uuid
from collections.abc import Sequence

from qdrant_client import models

from workers.vectors.errors import InvalidQuery
from workers.vectors.filters import Between, Condition, Excluding, HasAll, HasAny, HasNone, OneOf
from workers.vectors.qdrant.points import label_key, number_key, point_id
from workers.vectors.schema import Kind, Schema, is_readable
from workers.vectors.words import fold

_NOBODY = str(uuid.UUID(int=0))  # the id of no point: theirs are hashes
_NOTHING = models.HasIdCondition(has_id=[_NOBODY])
_ANYTHING = models.Filter(must_not=[_NOTHING])


def filter_of(conditions: Sequence[Condition], schema: Schema) -> models.Filter | None:
    """Return the filter that lets through what meets all conditions; None where there are none.

    Raises:
        InvalidQuery: if a condition speaks of a column that is not there, or is of a kind that has no such words.
    """
    return models.Filter(must=[_one(condition, schema) for condition in conditions]) if conditions else None


def _one(condition: Condition, schema: Schema) -> models.Condition:
    if isinstance(condition, Between):
        return _between(condition, _number(condition.column, schema))
    if isinstance(condition, OneOf):
        key = _number(condition.column, schema)
        return _any([_range(key, value, value) for value in condition.values if math.isfinite(value)])
    if isinstance(condition, HasAny):
        return _has_any(_label(condition.column, schema), condition.labels)
    if isinstance(condition, HasAll):
        key = _label(condition.column, schema)
        return models.Filter(must=[_has_any(key, [label]) for label in condition.labels] or [_ANYTHING])
    if isinstance(condition, HasNone):
        return models.Filter(must_not=[_has_any(_label(condition.column, schema), condition.labels)])
    if isinstance(condition, Excluding):
        ids = [point_id(one) for one in condition.ids if is_readable(one)]
        return models.Filter(must_not=[models.HasIdCondition(has_id=[_NOBODY, *ids])])
    raise InvalidQuery(f"This engine has no words for {type(condition).__name__}.")


def check_number(column: str, schema: Schema) -> None:
    """Raise `InvalidQuery` unless a column holds numbers."""
    _column(column, Kind.NUMBER, "numbers", schema)


def _number(column: str, schema: Schema) -> str:
    return number_key(_column(column, Kind.NUMBER, "numbers", schema))


def _label(column: str, schema: Schema) -> str:
    return label_key(_column(column, Kind.LABELS, "labels", schema))


def _column(column: str, kind: Kind, of: str, schema: Schema) -> str:
    if schema.columns.get(column) is not kind:
        known = [name for name, one in schema.columns.items() if one is kind]
        raise InvalidQuery(f"There is no column of {of} {column!r}, only {', '.join(known) or 'none'}.")
    return column


def _between(condition: Between, key: str) -> models.Condition:
    if math.isnan(condition.low) or math.isnan(condition.high):
        raise InvalidQuery(f"A bound of {condition.column} is not a number.")
    if condition.low == math.inf or condition.high == -math.inf:
        return _NOTHING
    if condition.low == -math.inf and condition.high == math.inf:
        return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key))])
    return _range(key, condition.low, condition.high)


def _range(key: str, low: float, high: float) -> models.Condition:
    bounds = models.Range(gte=low if math.isfinite(low) else None, lte=high if math.isfinite(high) else None)
    return models.FieldCondition(key=key, range=bounds)


def _has_any(key: str, labels: Sequence[str]) -> models.Condition:
    folded = sorted({fold(label) for label in labels if is_readable(label)})
    return models.FieldCondition(key=key, match=models.MatchAny(any=folded)) if folded else _NOTHING


def _any(conditions: Sequence[models.Condition]) -> models.Condition:
    return models.Filter(should=list(conditions)) if conditions else _NOTHING
