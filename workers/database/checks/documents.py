"""Checks on one document at a time: what must be there, of which type, in which range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bson.objectid import ObjectId

from shared.findings import Severity
from shared.model import Json
from shared.store import audio_features
from workers.audio.features import VERSION
from workers.database.checks.check import OPEN, Aside, DocumentCheck, Scene
from workers.database.schema import Cure, Field, Form
from workers.database.values import as_number, is_after, type_name

EPOCH_MS = (1e11, 1e13)
"""Numbers between these are taken for dates in milliseconds since 1970: the years 1973 to 2286."""


def _form(scene: Scene) -> Form:
    return scene.form or OPEN


class _FormCheck(DocumentCheck):
    """A check that is about the form of the documents."""

    group = "schema"

    def concerns(self, scene: Scene) -> bool:
        """Whether the form is known."""
        return scene.form is not None

    def clauses(self, scene: Scene) -> Sequence[Json]:
        """Return the filter that finds what does not fit the whole form, the same for all of these checks."""
        return [{"$nor": [{"$jsonSchema": _form(scene).json_schema(is_bounded=scene.has_bounds)}]}]


class UnknownField(_FormCheck):
    """A field that nobody knows: a typo, or a rest of an earlier version."""

    id = "unknown_field"
    title = "Unknown field"
    severity = Severity.LOW
    why = "A field under a wrong name is a value that nobody reads."
    repair = "The field is taken away; the undo log keeps it."

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return the fields that the form does not know."""
        form = _form(scene)
        return () if form.is_open else [name for name in document if name != "_id" and name not in form.fields]

    def cured(self, document: Json, scene: Scene) -> Json:
        """Leave them out."""
        unknown = set(self.faults(document, scene))
        return {name: value for name, value in document.items() if name not in unknown}


class MissingRequired(_FormCheck):
    """A field that every document must have is not there, or is null where that says nothing."""

    id = "missing_required"
    title = "Required field missing"
    severity = Severity.HIGH
    why = "Clients read these fields of every document, and fail or show nothing without them."
    repair = (
        "A date becomes that of the document's making (its ObjectId's, another date's, or the repair's); a measured"
        " value becomes null; a document without an id of its user or track, its score or its time is set aside."
    )

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return the required fields that are missing."""
        fields = _form(scene).fields
        return [
            name
            for name, one in fields.items()
            if one.required and (name not in document or (document[name] is None and one.types and not one.nullable))
        ]

    def cured(self, document: Json, scene: Scene) -> Json | Aside:
        """Fill in what can be known."""
        cured = document
        for name in self.faults(document, scene):
            one = _form(scene).fields[name]
            if one.cure in (Cure.QUARANTINE, Cure.NONE):
                return Aside(f"it has no {name}")
            cured = _with(cured, name, made_at(document, name, scene) if one.cure is Cure.DATE else None, scene)
        return cured


class WrongType(_FormCheck):
    """A value is of a type that its field must not have."""

    id = "wrong_type"
    title = "Wrong type"
    severity = Severity.HIGH
    why = "Comparisons, sorting and averages pass over values of another type without a word."
    repair = (
        "What can be read as the right type without loss is converted (text as a number or a date, a number as an id or"
        " as milliseconds since 1970); else it is cured as a missing value is."
    )

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return the fields whose values have a wrong type."""
        return [
            name for name, one in _form(scene).fields.items() if name in document and _is_other(document[name], one)
        ]

    def cured(self, document: Json, scene: Scene) -> Json | Aside:
        """Convert what can be, and do away with the rest."""
        cured = document
        for name in self.faults(document, scene):
            one = _form(scene).fields[name]
            value = _converted(document[name], one)
            if value is None and one.cure is Cure.DATE:
                value = made_at(document, name, scene)
            if value is not None:
                cured = {**cured, name: value}
            elif one.cure is Cure.QUARANTINE or (one.required and not one.nullable):
                return Aside(f"its {name} is of the type {type_name(document[name])}")
            elif one.nullable:
                cured = _with(cured, name, None, scene)
            else:
                cured = {key: kept for key, kept in cured.items() if key != name}
        return cured


class OutOfRange(_FormCheck):
    """A number lies outside of what its field can mean."""

    id = "out_of_range"
    title = "Value out of range"
    severity = Severity.MEDIUM
    why = "Such a value spoils every average and every comparison that it takes part in."
    repair = (
        "Features of the range 0 to 1 move to the nearer bound; key, mode, tempo, loudness and the like become null,"
        " with the reason beside them; a recommendation without a score that makes sense is set aside."
    )

    def clauses(self, scene: Scene) -> Sequence[Json]:
        """Return filters for what is too low, too high, or no number at all, where the form's does not say it."""
        found: list[Json] = []
        if scene.has_bounds:
            return super().clauses(scene)
        for name, one in _form(scene).fields.items():
            if one.low is not None and one.high is not None:
                found += [{name: {"$lt": one.low}}, {name: {"$gt": one.high}}, {name: math.nan}]
        return found

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return the fields whose numbers lie outside their bounds."""
        return [name for name, one in _form(scene).fields.items() if _is_outside(document.get(name), one)]

    def cured(self, document: Json, scene: Scene) -> Json | Aside:
        """Move the values, or do away with them."""
        cured = document
        for name in self.faults(document, scene):
            one = _form(scene).fields[name]
            number = as_number(document[name])
            if one.cure is Cure.QUARANTINE:
                return Aside(f"its {name} is out of range")
            if one.cure is Cure.CLAMP and number is not None and not math.isnan(number):
                cured = {**cured, name: min(max(number, one.low or 0.0), one.high or 0.0)}
            else:
                cured = _with(cured, name, None, scene)
        return cured


class FutureDate(_FormCheck):
    """A date that tells of something past lies in the future."""

    id = "future_date"
    title = "Date in the future"
    severity = Severity.MEDIUM
    why = "What is dated ahead stays the newest for ever, and is left out of every look back."
    repair = "The date becomes that of the document's making; a played track whose time can't be known is set aside."

    def clauses(self, scene: Scene) -> Sequence[Json]:
        """Return a filter for each date."""
        return [{name: {"$gt": scene.moment}} for name in _form(scene).dates]

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return the dates that lie in the future."""
        return [name for name in _form(scene).dates if is_after(document.get(name), scene.moment)]

    def cured(self, document: Json, scene: Scene) -> Json | Aside:
        """Set the dates back."""
        cured = document
        for name in self.faults(document, scene):
            if _form(scene).fields[name].cure is Cure.QUARANTINE:
                return Aside(f"its {name} lies in the future")
            cured = {**cured, name: made_at(document, name, scene)}
        return cured


class ContradictingDates(DocumentCheck):
    """A document was changed before it was made."""

    id = "contradicting_dates"
    title = "Changed before it was made"
    group = "integrity"
    severity = Severity.LOW
    why = "One of the two dates is wrong, so neither can be relied on."
    repair = "The time of the change becomes that of the making."

    def concerns(self, scene: Scene) -> bool:
        """Whether its documents have both dates."""
        return {"createdAt", "updatedAt"} <= set(_form(scene).fields)

    def clauses(self, scene: Scene) -> Sequence[Json]:
        """Return the filter that compares the two."""
        return [{"$expr": {"$lt": ["$updatedAt", "$createdAt"]}}]

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return the time of the change where it is before the making, in what has both."""
        made, changed = document.get("createdAt"), document.get("updatedAt")
        are_dates = type_name(made) == type_name(changed) == "date"
        if not are_dates or is_after(made, scene.moment):  # then that is the fault
            return ()
        return ("updatedAt",) if isinstance(made, datetime) and is_after(made, _when(changed)) else ()

    def cured(self, document: Json, scene: Scene) -> Json:
        """Move the time of the change."""
        return {**document, "updatedAt": document["createdAt"]}


class OutdatedFeatures(DocumentCheck):
    """Features that an older version of the extractor has made."""

    id = "outdated_features"
    title = "Features older than their extractor"
    group = "quality"
    severity = Severity.LOW
    why = "They are compared with features of the present version, which may mean something else."
    advice = "Submit an audio_features job for these tracks: what is older is analysed anew."

    def concerns(self, scene: Scene) -> bool:
        """Whether these are features."""
        return scene.collection == audio_features.COLLECTION

    def clauses(self, scene: Scene) -> Sequence[Json]:
        """Return the filter that finds what is of our own making and of another version."""
        return [{"provenance.provider": "local", "provenance.version": {"$nin": [VERSION, None]}}]

    def faults(self, document: Json, scene: Scene) -> Sequence[str]:
        """Return where the version stands, of what is of our own making and of a lower one."""
        made = document.get("provenance")
        if not isinstance(made, dict) or made.get("provider") != "local" or made.get("version") is None:
            return ()
        return ("provenance",) if _parts_of(str(made["version"])) < _parts_of(VERSION) else ()


def _parts_of(version: str) -> list[int]:
    """Return the numbers of a version; what has none is older than all."""
    numbers = version.partition("-")[0].split(".")
    return [int(one) for one in numbers if one.isdigit()]


def _when(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.min.replace(tzinfo=UTC)


def _with(document: Json, name: str, value: Any, scene: Scene) -> Json:
    """Return a document with a value in a field, and the reason beside it where a value is gone."""
    changed = {**document, name: value}
    if value is None and "reasons" in _form(scene).fields:
        reasons = document.get("reasons")
        changed["reasons"] = {**(reasons if isinstance(reasons, dict) else {}), name: "no value that makes sense"}
    return changed


def _is_other(value: Any, one: Field) -> bool:
    return value is not None and bool(one.types) and type_name(value) not in one.all_types


def _is_outside(value: Any, one: Field) -> bool:
    number = as_number(value)
    if number is None or (one.low is None and one.high is None):
        return False
    low = -math.inf if one.low is None else one.low
    high = math.inf if one.high is None else one.high
    return not low <= number <= high  # which is so for what is no number at all, too


def _converted(value: Any, one: Field) -> Any:
    """Return a value as the type of its field; None where that can't be done without loss."""
    if "double" in one.types and isinstance(value, str):
        return _as_number(value)
    if "date" in one.types:
        return _as_date(value)
    if "string" in one.types and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _as_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _as_date(value: Any) -> datetime | None:
    number = as_number(value)
    try:
        if number is not None and EPOCH_MS[0] < number < EPOCH_MS[1]:
            return datetime.fromtimestamp(number / 1000, tz=UTC)
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
        # Of what the zone's own calendar has, that of UTC may have none: a moment before the year 1.
        return found if found is None else (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def made_at(document: Json, name: str, scene: Scene) -> datetime:
    """Return when a document was made: by its ObjectId, or its earliest other date that is past, or the repair's."""
    own = document.get("_id")
    dates = [own.generation_time] if isinstance(own, ObjectId) else []
    dates += [
        value for other in _form(scene).dates if other != name and isinstance(value := document.get(other), datetime)
    ]
    return min((one for one in dates if one <= scene.moment), default=scene.moment)
