"""What is asked of a collection, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from workers.vectors.embedding import Floats
from workers.vectors.errors import InvalidQuery
from workers.vectors.filters import Condition
from workers.vectors.fusion import Part
from workers.vectors.schema import Schema, Space
from workers.vectors.targets import Target

# How far each ranking goes, where several become one. Twice as far takes up to twice as long, and changes 1 of 500 hits
# of first pages (a million entries, by words and a vector).
DEPTH = 100
K_MAX = 10_000

WORDS = "words"  # the ranking by words, among those by the names of spaces
NAME = "name"  # the ranking of those whose name is the whole text, beside others
FEATURES = "features"  # the ranking by targets


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Query:
    """What is looked for: by words, by nearness in one space or several, by numbers near to some, or by all of it."""

    # words to be found in the fields; None for no ranking by words
    text: str | None = None
    # space -> vector of any length, as the entries' vectors came, shape (dimensions,)
    near: Mapping[str, Floats] = field(default_factory=dict)
    # column of numbers -> the number that is wished for; none for no ranking by them
    targets: Mapping[str, Target] = field(default_factory=dict)
    # what every hit meets
    conditions: Sequence[Condition] = ()
    # 1 to K_MAX hits
    k: int = 10
    # how many hits to leave out at the beginning: those of the pages before
    offset: int = 0
    # how far each ranking goes where there are several; pages up to here neither overlap nor leave anything out
    depth: int = DEPTH

    @property
    def rankings(self) -> int:
        """Return how many rankings answer it."""
        return len(self.near) + bool(self.targets) + (self.text is not None)

    @property
    def until(self) -> int:
        """Return the place behind the last hit that is wanted."""
        return self.offset + self.k

    @property
    def reach(self) -> int:
        """Return how far each ranking goes: one that is alone as far as the page, too."""
        return max(self.depth, self.until) if self.rankings == 1 else self.depth

    def check(self, schema: Schema) -> None:
        """Raise `InvalidQuery` unless a collection of this schema can be asked so; the conditions aside."""
        if self.rankings == 0:
            raise InvalidQuery("The query looks for nothing: give it words, vectors or targets.")
        if self.text is not None and not schema.fields:
            raise InvalidQuery("The collection has no field of text to find words in.")
        for name, vector in self.near.items():
            _check_vector(name, vector, space_of(schema, name).dimensions)
        if not (1 <= self.k <= K_MAX and 1 <= self.depth <= K_MAX):
            raise InvalidQuery(f"k is {self.k} and the depth {self.depth}: 1 to {K_MAX} can be.")
        if not 0 <= self.offset <= K_MAX:
            raise InvalidQuery(f"The offset is {self.offset}: 0 to {K_MAX} can be.")


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
    # ranking (a space, WORDS, NAME or FEATURES) -> where it stood there
    parts: Mapping[str, Part]
    # word that was looked for -> word of the query that it stands for; `lexical.matches` tells which of them it has
    asked: Mapping[str, str] = field(default_factory=dict)
