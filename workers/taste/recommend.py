"""Recommending to one user: candidates near their taste, ranked by it, chosen so that they differ."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.taste import reasons
from workers.taste.collection import TAGS, TEXT_SPACE, Collection
from workers.taste.diversity import KINDS_MIN, choose
from workers.taste.pool import artists_of, number_of, title_of, track_of
from workers.taste.preference import Preference, preference
from workers.taste.signs import Leaning
from workers.vectors.embedding import Floats
from workers.vectors.filters import Condition, HasAny, HasNone
from workers.vectors.fusion import fuse
from workers.vectors.words import fold

CANDIDATES_MAX = 400  # that are compared with each other
_NEAR = 200  # to the taste as a whole, to the context, best rated
_NEAR_RECENT = 40  # to each of what was praised last
_ANCHORS = 4  # of those, the ones that differ most
_OTHERS = 100  # without the tags that most candidates have

# What counts how much: likeness to the taste, to what was praised last, tags, what others think.
_TASTE, _RECENT, _TAGS, _PRIOR = 0.45, 0.2, 0.25, 0.1
_SCORE_MIN = 0.001
_LIKED_PLACES_MAX = 1_000  # entries of a tag that is asked for

Numbers = NDArray[np.float64]
Ranking = Sequence[tuple[str, float]]  # ids and scores, best first


@dataclass(frozen=True, kw_only=True, eq=False)
class Wishes:
    """What is asked for, besides what the taste says."""

    limit: int = 20
    liked_tags: Sequence[str] = ()
    # the vector of the context in the space of text, shape (dimensions,); None for none
    context: Floats | None = None
    context_words: str | None = None
    # ids of entries that must not come, those that were seen among them
    excluded: Sequence[str] = ()
    # ids of entries on the user's list for later
    planned: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendation:
    """An entry that the user may like."""

    id: str
    # above 0, up to 1; higher is better, the first has the highest
    score: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recommendations:
    """What is recommended, the best first, and whether nothing was known that the user likes."""

    found: Sequence[Recommendation]
    is_cold_start: bool


def recommend(collection: Collection, leanings: Sequence[Leaning], wishes: Wishes) -> Recommendations:
    """Return up to as many entries as are wished for, always the same for the same; fewer where there are no more."""
    taste = preference(collection, leanings, wishes.liked_tags)
    is_cold = taste.direction is None
    ids, vectors = _candidates(collection, taste, wishes)
    if not ids:
        return Recommendations(found=(), is_cold_start=is_cold)
    by_context = _by_context(collection, wishes, ids)
    relevance = _relevance(collection, taste, ids, vectors, by_context)
    fitting = {one for one, _ in by_context[: _fitting_most(collection, wishes)]}
    best = np.sort(np.argsort(-relevance, kind="stable")[:CANDIDATES_MAX])
    ids, vectors, relevance = [ids[place] for place in best], vectors[best], relevance[best]
    chosen = choose(relevance, vectors, *_kinds(collection, ids), wishes.limit)
    chosen.sort(key=lambda place: (-relevance[place], ids[place]))
    found = [
        Recommendation(
            id=ids[place],
            score=round(float(np.clip(relevance[place], _SCORE_MIN, 1)), 6),
            reason=reasons.in_words(
                collection, taste, ids[place], vectors[place], _known(collection, wishes, ids[place], fitting)
            ),
        )
        for place in chosen
    ]
    return Recommendations(found=found, is_cold_start=is_cold)


def _fitting_most(collection: Collection, wishes: Wishes) -> int:
    """Return how many at most are near to a context: what is left is only less far than others."""
    return max(wishes.limit, min(_NEAR, len(collection.snapshot) // 20))


def _known(collection: Collection, wishes: Wishes, one: str, fitting: Set[str]) -> reasons.Wished:
    asked = {fold(tag) for tag in wishes.liked_tags}
    return reasons.Wished(
        tags=[written for tag, written in collection.tags(one).items() if tag in asked],
        context=wishes.context_words if one in fitting else None,
        is_planned=one in wishes.planned,
    )


# Candidates


def _candidates(collection: Collection, taste: Preference, wishes: Wishes) -> tuple[list[str], Floats]:
    """Return entries that may be recommended and their vectors, by id, each track once."""
    conditions = collection.unseen(list(wishes.excluded))
    found: dict[str, None] = {}
    if taste.direction is not None:
        found |= dict.fromkeys(collection.near(taste.direction, _NEAR, conditions))
        for anchor in _anchors(taste):
            found |= dict.fromkeys(collection.near(taste.liked_vectors[anchor], _NEAR_RECENT, conditions))
    if wishes.context is not None:
        found |= dict.fromkeys(collection.near(wishes.context, _NEAR, conditions, TEXT_SPACE))
    if wishes.liked_tags:
        found |= dict.fromkeys(_best_rated(collection, (*conditions, HasAny(TAGS, wishes.liked_tags))))
    if not found:
        found = dict.fromkeys(_best_rated(collection, conditions))
    found |= dict.fromkeys(_others(collection, taste, list(found), conditions))
    ids, vectors = collection.vectors(sorted(found))
    collection.read(ids)
    places = _each_once(collection, ids)
    return [ids[place] for place in places], vectors[places]


def _anchors(taste: Preference) -> list[int]:
    """Return the places among the liked of what was praised last, the newest and those least like what is there."""
    left = list(taste.recent)
    chosen = left[:1]
    while len(chosen) < min(_ANCHORS, len(left)):
        likeness = (taste.liked_vectors[left] @ taste.liked_vectors[chosen].T).max(axis=1)
        chosen.append(left[int(np.argmin(likeness))])
    return chosen


def _best_rated(collection: Collection, conditions: Sequence[Condition]) -> list[str]:
    """Return entries that are well rated or well described; any, where nothing says which those are."""
    columns = [column for column in ("score", "quality") if collection.has_number(column)]
    found = [one for column in columns for one in collection.snapshot.highest(column, _NEAR, conditions)]
    return found or collection.snapshot.matching(conditions, _LIKED_PLACES_MAX)


def _others(
    collection: Collection, taste: Preference, ids: Sequence[str], conditions: Sequence[Condition]
) -> list[str]:
    """Return entries of other genres, and without the tags that most have, where there is else too little to choose."""
    counts = Counter(tag for one in ids for tag in collection.kinds(one))
    genres = {genre for one in ids if (genre := collection.genre(one)) is not None}
    common = {tag for tag, count in counts.items() if 2 * count > len(ids)}
    if len(genres) < 2 * KINDS_MIN:
        common |= genres
    if not common:
        return []
    without = (*conditions, HasNone(TAGS, sorted(common)))
    if taste.direction is None:
        return _best_rated(collection, without)[:_OTHERS]
    return collection.near(taste.direction, _OTHERS, without)


def _each_once(collection: Collection, ids: Sequence[str]) -> list[int]:
    """Return the places of the first copy of each track: by its id, and by title and artists."""
    seen: set[tuple[str, ...]] = set()
    places = []
    for place, one in enumerate(ids):
        entry = collection.entry(one)
        title, artists = title_of(entry), artists_of(entry)
        names = {("track", track_of(entry)), *([(fold(title), *map(fold, artists))] if title and artists else [])}
        if not names & seen:
            places.append(place)
        seen |= names
    return places


def _kinds(collection: Collection, ids: Sequence[str]) -> tuple[list[list[int]], list[int | None]]:
    """Return numbers of the tags of each entry and of its genre; of its artists, where no entry has a tag."""
    names = [collection.kinds(one) for one in ids]
    genres = [collection.genre(one) for one in ids]
    if not any(names):
        names = [list(map(fold, artists_of(collection.entry(one)))) for one in ids]
        genres = [own[0] if own else None for own in names]
    numbers = {name: number for number, name in enumerate(sorted({name for own in names for name in own}))}
    return (
        [sorted({numbers[name] for name in own}) for own in names],
        [None if genre is None else numbers[genre] for genre in genres],
    )


# Relevance


def _relevance(
    collection: Collection, taste: Preference, ids: Sequence[str], vectors: Floats, by_context: Ranking
) -> Numbers:
    """Return how well each candidate fits, 0 to 1; with a context, two rankings become one."""
    parts: list[tuple[float, NDArray[np.floating]]] = [
        (_PRIOR, np.asarray([_prior(collection, one) for one in ids], np.float64))
    ]
    if taste.direction is not None:
        parts.append((_TASTE, vectors @ taste.direction))
    if taste.recent:
        parts.append((_RECENT, (vectors @ taste.liked_vectors[taste.recent].T).max(axis=1)))
    if taste.tags:
        parts.append((_TAGS, np.asarray([taste.tag_match(collection.tags(one)) for one in ids], np.float64)))
    total = sum(weight for weight, _ in parts)
    own: Numbers = sum((weight / total * np.clip(part, 0, 1) for weight, part in parts), start=np.zeros(len(ids)))
    return _fused(ids, own if len(parts) > 1 else None, by_context) if by_context else own


def _prior(collection: Collection, one: str) -> float:
    """Return what an entry is worth to anybody, 0 to 1: half where nothing says it."""
    entry = collection.entry(one)
    known = [
        value / highest
        for column, highest in (("score", 10), ("quality", 1))
        if (value := number_of(entry, column)) is not None
    ]
    return sum(known) / len(known) if known else 0.5


def _by_context(collection: Collection, wishes: Wishes, ids: Sequence[str]) -> Ranking:
    """Return those of the candidates that a text is known of by how near they are to the context; none without one."""
    if wishes.context is None:
        return []
    with_text, vectors = collection.vectors(ids, TEXT_SPACE)
    return _ranked(with_text, vectors @ wishes.context)


def _fused(ids: Sequence[str], own: Numbers | None, by_context: Ranking) -> Numbers:
    """Return reciprocal ranks by taste and by context, scaled to 1 for what is first in both."""
    # without a taste the same again, for the same scale with nothing else to say
    rankings = {"context": by_context, "taste": by_context if own is None else _ranked(ids, own)}
    scores = {one.key: one.score for one in fuse(rankings)}
    first = fuse({name: [("", 1.0)] for name in rankings})[0].score
    return np.asarray([scores.get(one, 0.0) / first for one in ids], np.float64)


def _ranked(ids: Sequence[str], scores: NDArray[np.floating]) -> Ranking:
    return sorted(zip(ids, map(float, scores), strict=True), key=lambda one: (-one[1], one[0]))
