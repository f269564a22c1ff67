"""What is asked of a collection, and what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.vectors.embedding import Floats
from workers.vectors.filters import Condition
from workers.vectors.fusion import Part
from workers.vectors.lexical import Match

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
