"""What the documents of each collection must look like: the clients' by name, and Backline's own from their records."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Union

from pydantic import BaseModel

from shared.findings import Finding, Report
from shared.model import Json, Record
from shared.store import (
    audio_features,
    audio_files,
    audit,
    catalogue,
    chunks,
    contents,
    indexes,
    job_record,
    jobs,
    keys,
    outcomes,
    reports,
    schedules,
    slots,
)
from shared.store.contents import Features

NUMBER = ("int", "long", "double", "decimal")


class Cure(StrEnum):
    """What is done with a value that can't be right."""

    NULL = "null"  # it becomes null, with the reason beside it where the document has `reasons`
    CLAMP = "clamp"  # a number moves to the nearest bound; anything else becomes null
    DATE = "date"  # a date becomes that of the document's making
    QUARANTINE = "quarantine"  # the document is worth nothing without it, and is set aside
    NONE = "none"  # somebody has to look at it


@dataclass(frozen=True, kw_only=True)
class Field:
    """What one field may hold."""

    types: tuple[str, ...] = ()  # BSON types by MongoDB's names; none for any
    required: bool = True  # it must be there
    nullable: bool = False  # null is as good as a value
    low: float | None = None
    high: float | None = None
    is_past: bool = False  # a date that can't lie in the future
    cure: Cure = Cure.NONE

    @property
    def all_types(self) -> tuple[str, ...]:
        """The types that are allowed, null included where it is."""
        return (*self.types, "null") if self.types and (self.nullable or not self.required) else self.types


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the documents of a collection look like."""

    fields: Mapping[str, Field]
    is_open: bool = True  # further fields are nobody's business
    unique: tuple[str, ...] = ()  # no two documents have the same values in all of these
    unique_among: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # which documents that is said of
    users: bool = False  # `userId` names a document of `users`
    is_clients: bool = False  # filled by clients, too, so that repairs are in order

    @property
    def required(self) -> tuple[str, ...]:
        """The fields that must be there."""
        return tuple(name for name, one in self.fields.items() if one.required)

    @property
    def dates(self) -> tuple[str, ...]:
        """The dates that can't lie in the future."""
        return tuple(name for name, one in self.fields.items() if one.is_past)

    def json_schema(self, *, is_bounded: bool) -> Json:
        """Return the same as a `$jsonSchema`, with the bounds of numbers or without, but for what that can't say."""
        schema: Json = {
            "bsonType": "object",
            "required": list(self.required),
            "properties": {"_id": {}, **{name: _property(one, is_bounded) for name, one in self.fields.items()}},
        }
        return schema if self.is_open else {**schema, "additionalProperties": False}


def _property(one: Field, is_bounded: bool) -> Json:
    found: Json = {"bsonType": list(one.all_types)} if one.all_types else {}
    if is_bounded and one.low is not None and one.high is not None:
        found |= {"minimum": one.low, "maximum": one.high}
    return found


# The clients' collections

_ID = Field(types=("string",), cure=Cure.QUARANTINE)
_CREATED = Field(types=("date",), is_past=True, cure=Cure.DATE)
_UPDATED = replace(_CREATED, required=False)
_TEXT = Field(types=("string",), required=False)
_ANY = Field(required=False)


def _number(low: float, high: float, cure: Cure = Cure.NULL) -> Field:
    return Field(types=NUMBER, required=False, nullable=True, low=low, high=high, cure=cure)


_UNIT = _number(0.0, 1.0, Cure.CLAMP)
_MEASURED = {
    **dict.fromkeys(("danceability", "energy", "valence"), replace(_UNIT, required=True)),
    **dict.fromkeys(("speechiness", "acousticness", "instrumentalness", "liveness"), _UNIT),
    "key": _number(-1, 11),
    "mode": _number(0, 1),
    "tempo": _number(0.0, 300.0),
    "loudness": _number(-100.0, 20.0),
    "time_signature": _number(0, 16),
    "duration_ms": _number(0, 7 * 24 * 3600 * 1000),
}
_OBJECT = Field(types=("object",), required=False)
_FEATURES_BESIDE = {
    **dict.fromkeys(("confidence", "reasons", "tags", "provenance"), _OBJECT),
    "warnings": Field(types=("array",), required=False),
    **dict.fromkeys(("contentHash", "path"), _TEXT),
    **dict.fromkeys(("tempoAlternative", "loudnessRange", "truePeak"), replace(_ANY, types=NUMBER, nullable=True)),
    **dict.fromkeys(Features.model_fields, _ANY),
}

CLIENTS: Mapping[str, Form] = {
    audio_features.USERS: Form(
        fields={
            "userId": _ID,
            "createdAt": _CREATED,
            "updatedAt": _UPDATED,
            "lastProcessed": replace(_UPDATED, nullable=True),
            "audioFeaturesSummary": replace(_OBJECT, nullable=True),
        },
        unique=("userId",),
        is_clients=True,
    ),
    audio_features.COLLECTION: Form(
        fields={
            "userId": _ID,
            "trackId": _ID,
            "createdAt": replace(_CREATED, required=False),
            "updatedAt": _UPDATED,
            **_FEATURES_BESIDE,
            **_MEASURED,
        },
        is_open=False,
        unique=("userId", "trackId"),
        users=True,
        is_clients=True,
    ),
    "listening_history": Form(
        fields={"userId": _ID, "trackId": _ID, "playedAt": replace(_CREATED, cure=Cure.QUARANTINE)},
        users=True,
        is_clients=True,
    ),
    "recommendations": Form(
        fields={
            "userId": _ID,
            "trackId": replace(_ID, nullable=True),  # what is no track has an itemId in its place
            "score": replace(_UNIT, required=True, nullable=False, cure=Cure.QUARANTINE),
            "createdAt": _CREATED,
        },
        unique=("userId", "trackId"),
        unique_among={"jobId": {"$exists": False}},  # a batch of ours may lie beside the one before
        users=True,
        is_clients=True,
    ),
}


# Backline's own, from their records


def _of_record(record: type[Record], **extras: Field) -> Form:
    """Return the form that a record's documents have; fields that it does not know are `extras`, or too many."""
    fields = {
        info.alias or name: _of_annotation(info.annotation, required=info.is_required())
        for name, info in record.model_fields.items()
        if info.alias != "_id"
    }
    return Form(fields={**fields, **extras}, is_open=False)


def _of_annotation(annotation: Any, *, required: bool) -> Field:
    parts = _parts(annotation)
    found = tuple(dict.fromkeys(kind for part in parts for kind in _bson_types(part)))
    if any(not _bson_types(part) for part in parts if part is not type(None)):
        found = ()
    return Field(types=found, required=required, nullable=type(None) in parts)


def _parts(annotation: Any) -> Sequence[Any]:
    origin = typing.get_origin(annotation)
    return typing.get_args(annotation) if origin in (Union, types.UnionType) else (annotation,)


_BY_TYPE: Sequence[tuple[type, tuple[str, ...]]] = (
    (StrEnum, ("string",)),
    (IntEnum, ("int", "long")),
    (bool, ("bool",)),
    (str, ("string",)),
    (int, ("int", "long")),
    (float, NUMBER),
    (datetime, ("date",)),
    (BaseModel, ("object",)),
    (tuple, ("array",)),
    (list, ("array",)),
    (dict, ("object",)),
)


def _bson_types(part: Any) -> tuple[str, ...]:
    kind = typing.get_origin(part) or part
    if not isinstance(kind, type):
        return ()
    if kind in (Mapping, Sequence, Iterable):
        return ("object",) if kind is Mapping else ("array",)
    return next((names for known, names in _BY_TYPE if issubclass(kind, known)), ())


_STAMP = Field(types=("date",), required=False)
_FREE = Field(required=False)

OWN: Mapping[str, Form] = {
    jobs.COLLECTION: _of_record(job_record.JobRecord, submissionKey=Field(types=("string",), required=False)),
    chunks.COLLECTION: _of_record(chunks.Chunk),
    outcomes.COLLECTION: _of_record(outcomes.Outcome),
    schedules.COLLECTION: _of_record(schedules.Schedule),
    slots.COLLECTION: _of_record(slots.Slot),
    keys.COLLECTION: _of_record(keys.StoredKey),
    audit.COLLECTION: _of_record(audit.Entry),
    indexes.COLLECTION: _of_record(indexes.IndexPointer),
    contents.COLLECTION: _of_record(contents.Content, createdAt=_STAMP, **dict.fromkeys(contents.ARRAYS, _FREE)),
    audio_files.COLLECTION: _of_record(audio_files.AudioFile, seenAt=_STAMP),
    reports.COLLECTION: _of_record(Report),
    reports.FINDINGS: _of_record(Finding),
}

_ENTRY = _of_record(catalogue.CatalogueEntry)
CATALOGUE = Form(
    fields={
        **_ENTRY.fields,
        "title": Field(types=("string",), cure=Cure.QUARANTINE),
        "year": _number(1800, 2200),
        "score": _number(0.0, 10.0),
        "quality": _number(0.0, 1.0),
        **dict.fromkeys(("createdAt", "updatedAt"), _CREATED),
    },
    is_clients=True,
)

OPERATORS: frozenset[str] = frozenset(set(OWN) - {reports.COLLECTION, reports.FINDINGS})
"""What stands in the shared database alone."""

FORMS: Mapping[str, Form] = {**CLIENTS, **OWN, catalogue.COLLECTION: CATALOGUE}
