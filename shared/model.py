"""The base of every record and body: camelCase outside, snake_case inside."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel
from pymongo.database import Database

Json = dict[str, Any]
Db = Database[dict[str, Any]]
Cursor = Json
"""Where a plan stands, in values that JSON can hold; only the kind that wrote it reads it."""


Member = TypeVar("Member", bound=StrEnum)


def known_members(kind: type[Member]) -> BeforeValidator:
    """Return what takes the members out of a stored list that this version does not know; a later one may have more."""
    known = frozenset(kind)
    return BeforeValidator(lambda found: tuple(one for one in found if one in known))


class Body(BaseModel):
    """A frozen body of a request or an answer; unknown fields are refused, so a typo is no silent default."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True, extra="forbid"
    )

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values under camelCase names."""
        return self.model_dump(mode="json", by_alias=True)


class Record(Body):
    """A document of ours in MongoDB; fields of a later version are ignored, so versions can run side by side."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Read a document of this record's collection."""
        return cls.model_validate(document)

    def to_document(self) -> dict[str, Any]:
        """Return the document to store: camelCase names, datetimes kept as they are."""
        return self.model_dump(mode="python", by_alias=True)
