"""What a collection consists of: spaces of vectors, columns that filters look at, fields that words are found in."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from workers.vectors.embedding import Floats
from workers.vectors.errors import InvalidEntry, InvalidSchema

DIMENSIONS_MAX = 8192
ID_MAX = 520  # characters: two ids of 256, and what stands between them

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

Value = float | str | Sequence[str] | None


class Kind(StrEnum):
    """What a column holds."""

    NUMBER = "number"  # one number or none
    LABELS = "labels"  # any number of words; two that differ in case or accents' encoding are one


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """Vectors of one origin, compared by cosine."""

    dimensions: int
    # every dimension brought to mean 0 and deviation 1 over the collection before vectors are compared
    is_standardised: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field of text."""

    # what a word found here counts beside the other fields'
    weight: float
    # whether misspelt words of a query may stand for words of this field
    corrects_typos: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Schema:
    """The form of every entry of a collection; each name is of small letters, digits and underscores.

    Raises:
        InvalidSchema: when it is made, if it can't be.
    """

    spaces: Mapping[str, Space] = field(default_factory=dict)
    columns: Mapping[str, Kind] = field(default_factory=dict)
    fields: Mapping[str, Field] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.spaces, *self.columns, *self.fields):
            if not _NAME.fullmatch(name):
                raise InvalidSchema(f"{name!r} is no name: a small letter, then letters, digits and underscores.")
        for name, space in self.spaces.items():
            if not 1 <= space.dimensions <= DIMENSIONS_MAX:
                raise InvalidSchema(f"Space {name} has {space.dimensions} dimensions: 1 to {DIMENSIONS_MAX} can be.")
        for name, one in self.fields.items():
            if not (math.isfinite(one.weight) and one.weight > 0):
                raise InvalidSchema(f"Field {name} has the weight {one.weight}: it must be above 0.")

    def to_json(self) -> dict[str, Any]:
        """Return it as the manifest keeps it."""
        return {
            "spaces": {name: [one.dimensions, one.is_standardised] for name, one in self.spaces.items()},
            "columns": {name: str(kind) for name, kind in self.columns.items()},
            "fields": {name: [one.weight, one.corrects_typos] for name, one in self.fields.items()},
        }

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Schema":
        """Return the schema that `to_json` wrote."""
        return cls(
            spaces={name: Space(dimensions=one[0], is_standardised=one[1]) for name, one in known["spaces"].items()},
            columns={name: Kind(kind) for name, kind in known["columns"].items()},
            fields={name: Field(weight=one[0], corrects_typos=one[1]) for name, one in known["fields"].items()},
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Entry:
    """One thing that can be found."""

    # what it is called everywhere; up to ID_MAX characters
    id: str
    # space -> vector of any length but zero, shape (dimensions,); a space may be left out
    vectors: Mapping[str, Floats] = field(default_factory=dict)
    # field -> its texts
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # column -> a finite number, a label or labels; None and what is left out match no condition
    attributes: Mapping[str, Value] = field(default_factory=dict)

    def check(self, schema: Schema) -> None:
        """Raise `InvalidEntry` if it does not fit the schema."""
        if not 0 < len(self.id) <= ID_MAX or not _is_text(self.id):
            raise InvalidEntry(f"{self.id[:ID_MAX]!r} is no id: 1 to {ID_MAX} characters can be.")
        for kind, given, known in (
            ("space", self.vectors, schema.spaces),
            ("field", self.texts, schema.fields),
            ("column", self.attributes, schema.columns),
        ):
            if unknown := set(given) - set(known):
                raise InvalidEntry(f"{self.id}: the collection has no {kind} {', '.join(sorted(unknown))}.")
        for name, vector in self.vectors.items():
            self._check_vector(name, vector, schema.spaces[name].dimensions)
        for name, texts in self.texts.items():
            if isinstance(texts, str) or not all(map(_is_text, texts)):
                raise InvalidEntry(f"{self.id}: field {name} must be a list of texts in valid Unicode.")
        for name, value in self.attributes.items():
            self._check_value(name, value, schema.columns[name])

    def to_json(self) -> dict[str, Any]:
        """Return all but the id and the vectors, as engines keep it."""
        attributes = {
            name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            for name, value in self.attributes.items()
            if value is not None
        }
        texts = {name: list(texts) for name, texts in self.texts.items() if texts}
        return {"texts": texts, "attributes": attributes}

    def _check_vector(self, name: str, vector: Floats, dimensions: int) -> None:
        if np.shape(vector) != (dimensions,):
            raise InvalidEntry(f"{self.id}: vector {name} has the shape {np.shape(vector)}, not ({dimensions},).")
        if not np.isfinite(vector).all() or not np.any(vector):
            raise InvalidEntry(f"{self.id}: vector {name} is zero or not finite; leave it out where there is none.")

    def _check_value(self, name: str, value: Value, kind: Kind) -> None:
        if value is None:
            return
        if kind is Kind.NUMBER:
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise InvalidEntry(f"{self.id}: column {name} must be a finite number.")
        elif isinstance(value, int | float) or not all(map(_is_text, labels_of(value))):
            raise InvalidEntry(f"{self.id}: column {name} must be a text or texts in valid Unicode.")


def labels_of(value: str | Sequence[str]) -> Sequence[str]:
    """Return the labels of a column's value, which may be a single one."""
    return (value,) if isinstance(value, str) else value


def is_readable(text: str) -> bool:
    """Return whether a text can be written and sent: half of a surrogate pair can't, and no entry has it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_text(value: object) -> bool:
    return isinstance(value, str) and is_readable(value)
