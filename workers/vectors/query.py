"""What is asked of a collection, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.vectors.embedding import Floats
from workers.vectors.errors import InvalidQuery
from workers.vectors.filters import Condition
from workers.vectors.fusion import Part
from workers.vectors.lexical import Match
from workers.vectors.schema import Schema, Space

DEPTH = 200  # of each ranking, before they become one
K_MAX = 10_000

WORDS = "words"  # the ranking by words, among those by the names of spaces


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Query:
    """What is looked for: by words, by nearness in one space or several, or by both."""

    # words to be found in the fields; None for no ranking by words
    text: str | None = None
    # space -> vector of any length, as the entries' vectors came, shape (dimensions,)
    near: Mapping[str, Floats] = field(default_factory=dict)
    # what every hit meets
    conditions: Sequence[Condition] = ()
    # 1 to K_MAX hits
    k: int = 10
    # how far each ranking goes where there are several; pages are stable as long as it stays the same
    depth: int = DEPTH

    def check(self, schema: Schema) -> None:
        """Raise `InvalidQuery` unless a collection of this schema can be asked so; the conditions aside."""
        if self.text is None and not self.near:
            raise InvalidQuery("The query looks for nothing: give it words, or a vector, or both.")
        if self.text is not None and not schema.fields:
            raise InvalidQuery("The collection has no field of text to find words in.")
        for name, vector in self.near.items():
            _check_vector(name, vector, space_of(schema, name).dimensions)
        if not (1 <= self.k <= K_MAX and 1 <= self.depth <= K_MAX):
            raise InvalidQuery(f"k is {self.k} and the depth {self.depth}: 1 to {K_MAX} can be.")


def space_of(schema: Schema, name: str) -> Space:
    """Return a space of a collection; raises `InvalidQuery`."""
    if name not in schema.spaces:
        raise InvalidQuery(f"There is no space {name!r}, only {', '.join(schema.spaces) or 'none'}.")
    return schema.spaces[name]


def _check_vector(name: str, vector: Floats, dimensions: int) -> None:
    given = np.asarray(vector, np.float32)
    if given.shape != (dimensions,):
        raise InvalidQuery(f"The query of {name} has the shape {given.shape}, not ({dimensions},).")
    if not np.isfinite(given).all() or not given.any():
        raise InvalidQuery(f"The query of {name} is zero or not finite.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """Something that was found, and why."""

    id: str
    # of the only ranking, or the fused one; higher is better, and only comparable within one answer
    score: float
    # ranking (a space, or WORDS) -> where it stood there
    parts: Mapping[str, Part]
    # words of the query that stand in it, the weightiest field first
    matches: tuple[Match, ...] = ()
