"""One ranking out of several, by reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

# The paper's constant: how little the very first ranks stand out.
_SMOOTHING = 60

# What is ranked, by its id or by its place in the order of the ids: equals stand in this order.
Key = TypeVar("Key", str, int)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Where one ranking has something."""

    # from 1
    rank: int
    # in that ranking's own measure: a cosine, a BM25 score
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Fused(Generic[Key]):
    """Something that at least one ranking has."""

    key: Key
    # sum of 1 / (60 + rank) over the rankings that have it
    score: float
    # name of a ranking -> where it stands there
    parts: Mapping[str, Part]


def fuse(
    rankings: Mapping[str, Sequence[tuple[Key, float]]], first: int = 0, last: int | None = None
) -> list[Fused[Key]]:
    """Return what some ranking has, best first, equals by key; a single ranking keeps its own scores.

    Args:
        rankings: name -> keys and their scores, best first.
        first: place of the first that is wanted.
        last: place behind the last; None for all.
    """
    if len(rankings) == 1:
        ((name, ranking),) = rankings.items()
        return [
            Fused(key=one, score=score, parts={name: Part(rank=rank, score=score)})
            for rank, (one, score) in enumerate(ranking[first:last], first + 1)
        ]
    scores: dict[Key, float] = {}
    for ranking in rankings.values():
        for rank, (one, _) in enumerate(ranking, 1):
            scores[one] = scores.get(one, 0.0) + 1 / (_SMOOTHING + rank)
    wanted = sorted(scores, key=lambda one: (-scores[one], one))[first:last]
    parts: dict[Key, dict[str, Part]] = {one: {} for one in wanted}
    for name, ranking in rankings.items():
        for rank, (one, score) in enumerate(ranking, 1):
            if one in parts:
                parts[one][name] = Part(rank=rank, score=score)
    return [Fused(key=one, score=scores[one], parts=found) for one, found in parts.items()]
