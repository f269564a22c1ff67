"""One ranking out of several, by reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The paper's constant: how little the very first ranks stand out.
_SMOOTHING = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Where one ranking has something."""

    # from 1
    rank: int
    # in that ranking's own measure: a cosine, a BM25 score
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused:
    """Something that at least one ranking has."""

    id: str
    # sum of 1 / (60 + rank) over the rankings that have it
    score: float
    # name of a ranking -> where it stands there
    parts: Mapping[str, Part]


def fuse(rankings: Mapping[str, Sequence[tuple[str, float]]]) -> list[Fused]:
    """Return all that some ranking has, best first, equals by id; a single ranking keeps its own scores.

    Args:
        rankings: name -> ids and their scores, best first.
    """
    parts: dict[str, dict[str, Part]] = {}
    for name, ranking in rankings.items():
        for rank, (one, score) in enumerate(ranking, 1):
            parts.setdefault(one, {})[name] = Part(rank=rank, score=score)
    if len(rankings) == 1:
        (ranking,) = rankings.values()
        return [Fused(id=one, score=score, parts=parts[one]) for one, score in ranking]
    fused = [
        Fused(id=one, score=sum(1 / (_SMOOTHING + part.rank) for part in found.values()), parts=found)
        for one, found in parts.items()
    ]
    return sorted(fused, key=lambda one: (-one.score, one.id))
