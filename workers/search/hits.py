"""What is found, as clients see it, with the reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.jobs.vector_index import split_track_key
from shared.search import Hit, IndexInfo, Match, NearFeature, PartOfScore, Why
from shared.store.indexes import IndexName
from workers.search.opened import OpenIndex
from workers.vectors import query as kernel
from workers.vectors.engine import Index
from workers.vectors.lexical import matches
from workers.vectors.schema import Entry, Value
from workers.vectors.targets import Target

NEAREST_SHOWN = 3
"""Of the features of a hit, how many are named."""


def hits_of(snapshot: Index, found: Sequence[kernel.Hit], index: str, wanted: Mapping[str, Target]) -> list[Hit]:
    """Return hits; `wanted` says what their features are compared with."""
    entries = snapshot.find_entries(one.id for one in found)
    return [_hit(snapshot, one, entries[one.id], index, wanted) for one in found]


def _hit(snapshot: Index, found: kernel.Hit, entry: Entry, index: str, wanted: Mapping[str, Target]) -> Hit:
    # Our own values: to validate each again would take as long as the search.
    is_item = index == IndexName.CATALOGUE
    user, track = split_track_key(found.id)
    return Hit.model_construct(
        item_id=found.id if is_item else None,
        track_id=None if is_item else track,
        user_id=None if is_item else user,
        title=next(iter(entry.texts.get("title", ())), None),
        score=found.score,
        attributes=dict(entry.attributes),
        why=Why.model_construct(
            parts={
                name: PartOfScore.model_construct(rank=part.rank, score=part.score)
                for name, part in found.parts.items()
            },
            matches=tuple(
                Match.model_construct(term=one.term, asked=one.asked, field=one.field)
                for one in matches(found.asked, entry.texts, snapshot.schema)
            ),
            features=_nearest(snapshot, wanted, entry.attributes),
        ),
    )


def _nearest(snapshot: Index, wanted: Mapping[str, Target], attributes: Mapping[str, Value]) -> tuple[NearFeature, ...]:
    """Return the features in which a hit is nearest to what was asked for."""
    apart = snapshot.differences(wanted, attributes)
    values = {name: value for name, value in attributes.items() if isinstance(value, int | float)}
    return tuple(
        NearFeature.model_construct(
            feature=name, value=values[name], wanted=wanted[name].value, deviations=round(distance, 3)
        )
        for name, distance in sorted(apart.items(), key=lambda one: one[1])[:NEAREST_SHOWN]
    )


def info_of(name: str, opened: OpenIndex) -> IndexInfo:
    """Return which state of an index answers."""
    return IndexInfo(
        name=name,
        snapshot=opened.snapshot.name,
        built_at=opened.published.built_at,
        entries=len(opened.snapshot),
        is_current=opened.is_current,
    )
