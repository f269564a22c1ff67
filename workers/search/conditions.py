"""The filters of a search as conditions on the columns of a snapshot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from shared.search import CatalogueFilters, LabelFilter, Range, TrackFilters, TrackSearch
from workers.vectors.filters import Between, Condition, HasAll, HasAny, HasNone, OneOf
from workers.vectors.targets import Scale, Target

SCALES: Mapping[str, Scale] = {"tempo": Scale.OCTAVES, "key": Scale.FIFTHS}
"""How features are compared that are not simply subtracted."""

MODES = {"major": 1.0, "minor": 0.0}

_CATALOGUE_RANGES = ("year", "episodes", "score")
_CHOICES = {"types": "type", "status": "status", "seasons": "season", "studios": "studios"}  # field -> column
_TRACK_RANGES = (
    *("tempo", "energy", "valence", "danceability", "acousticness", "instrumentalness", "speechiness"),
    *("loudness", "duration"),
)


def catalogue_conditions(filters: CatalogueFilters) -> list[Condition]:
    """Return what every hit of the catalogue must meet."""
    found = [*_common(filters, _CATALOGUE_RANGES)]
    for field, column in _CHOICES.items():
        if named := getattr(filters, field):
            found.append(HasAny(column, named))
    if filters.catalogue is not None:
        found.append(HasAny("catalogue", (filters.catalogue,)))
    return found


def track_conditions(search: TrackSearch) -> list[Condition]:
    """Return what every track must meet that is found."""
    filters = search.filters
    found = [*_common(filters, _TRACK_RANGES)]
    if search.user_id is not None:
        found.append(HasAny("user", (search.user_id,)))
    if filters.key:
        found.append(OneOf("key", filters.key))
    if filters.mode is not None:
        found.append(OneOf("mode", (MODES[filters.mode],)))
    return found


def targets_of(values: Mapping[str, float]) -> dict[str, Target]:
    """Return wished-for values as the kernel takes them."""
    return {column: Target(value, SCALES.get(column, Scale.LINEAR)) for column, value in values.items()}


def _common(filters: CatalogueFilters | TrackFilters, ranges: Sequence[str]) -> Iterator[Condition]:
    for column in ranges:
        wanted: Range | None = getattr(filters, column)
        if wanted is not None:
            yield _between(column, wanted)
    if filters.tags is not None:
        yield from _labelled("tags", filters.tags)
    if filters.artists:
        yield HasAny("artists", filters.artists)


def _between(column: str, wanted: Range) -> Between:
    low = -math.inf if wanted.min is None else wanted.min
    return Between(column, low, math.inf if wanted.max is None else wanted.max)


def _labelled(column: str, wanted: LabelFilter) -> Iterator[Condition]:
    if wanted.any:
        yield HasAny(column, wanted.any)
    if wanted.all:
        yield HasAll(column, wanted.all)
    if wanted.none:
        yield HasNone(column, wanted.none)
