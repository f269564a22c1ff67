"""The way of a playlist through a space of sound: what is wanted at each place, and which tracks are near it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.taste.pool import SPACE, Pool, artists_of
from workers.taste.transitions import Numbers
from workers.vectors.embedding import Floats, unit
from workers.vectors.engine import Index
from workers.vectors.filters import Between, Condition, Excluding, HasNone
from workers.vectors.query import Query

SEARCHES_MAX = 12  # an exact search of 50,000 tracks takes 3 ms
_NEAR_MIN, _NEAR_MAX = 40, 300  # tracks of one search
_SPARE = 8  # tracks to choose from for each that is wanted
_ENERGY_BAND = 0.15
_ROUNDS_MAX = 8  # of looking further afield


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """What a playlist should sound like, place by place."""

    # of unit length, shape (stops, dimensions)
    stops: Floats
    # whether it leads from stop to stop; else every place may be near any of them
    is_path: bool
    # shape (length,), 0 to 1; None for any
    energy: Numbers | None
    length: int

    def fit(self, vectors: Floats) -> Floats:
        """Return the cosine of each vector with what is wanted at each place, shape (length, vectors)."""
        if self.is_path:
            return self._targets(self.length) @ vectors.T
        return np.broadcast_to((self.stops @ vectors.T).max(axis=0), (self.length, len(vectors)))

    def shortened(self, length: int) -> "Route":
        """Return the same way with fewer places."""
        energy = None if self.energy is None else spread(self.energy, length)
        return Route(stops=self.stops, is_path=self.is_path, energy=energy, length=length)

    def _targets(self, count: int) -> Floats:
        return along(self.stops, np.linspace(0, 1, count))

    def gather(self, snapshot: Index, conditions: Sequence[Condition]) -> list[str]:
        """Return the ids of tracks near the way, and of those the ones of the energy that is wanted there."""
        searches = max(min(SEARCHES_MAX, self.length), 1 if self.is_path else min(len(self.stops), SEARCHES_MAX))
        targets = self._targets(searches) if self.is_path else self._stops_in_turn(searches)
        near = int(np.clip(_SPARE * self.length // searches, _NEAR_MIN, _NEAR_MAX))
        energy = None if self.energy is None else spread(self.energy, searches)
        found: dict[str, None] = {}
        for place, target in enumerate(targets):
            bands: list[Sequence[Condition]] = [conditions]
            if energy is not None:
                level = float(energy[place])
                bands = [(*conditions, Between("energy", level - _ENERGY_BAND, level + _ENERGY_BAND)), conditions]
            for band in bands:
                found |= dict.fromkeys(_near(snapshot, target, band, near))
        return list(found)

    def _stops_in_turn(self, count: int) -> Floats:
        places = np.arange(count)
        many = len(self.stops) > count
        return self.stops[places * len(self.stops) // count if many else places % len(self.stops)]

    def further(self, snapshot: Index, conditions: Sequence[Condition], known: Pool) -> Pool:
        """Return a pool with more tracks, above all of artists that are not in it yet: the nearest that there are."""
        middle = unit(self.stops.mean(axis=0))
        target = middle if middle.any() else self.stops[0]
        ids = [entry.id for entry in known.entries]
        ids += _near(snapshot, target, (*conditions, Excluding(ids)), 2 * self.length)
        artists = _artists(snapshot, ids)
        for _ in range(_ROUNDS_MAX):
            others = (*conditions, Excluding(ids), HasNone("artists", sorted(artists)))
            found = _near(snapshot, target, others, max(_NEAR_MIN, self.length))
            added = _artists(snapshot, found)
            ids += found
            artists |= added
            if not added or len(added) >= self.length:
                break
        return Pool.of(snapshot, ids)


def _artists(snapshot: Index, ids: Sequence[str]) -> set[str]:
    return {artist for entry in snapshot.find_entries(ids).values() for artist in artists_of(entry)}


def _near(snapshot: Index, target: Floats, conditions: Sequence[Condition], k: int) -> list[str]:
    query = Query(near={SPACE: snapshot.as_query(target, SPACE)}, conditions=conditions, k=k)
    return [hit.id for hit in snapshot.search(query)]


def along(stops: Floats, shares: Numbers) -> Floats:
    """Return the points on the way from stop to stop over the unit sphere, shape (shares, dimensions).

    Each leg is a great circle of even pace (Shoemake, SIGGRAPH 1985), and all legs take equally many places.

    Args:
        stops: of unit length, shape (stops, dimensions).
        shares: of the whole way, 0 to 1.
    """
    if len(stops) == 1:
        return np.repeat(stops, len(shares), axis=0)
    legs = np.minimum((shares * (len(stops) - 1)).astype(np.int64), len(stops) - 2)
    inside = (shares * (len(stops) - 1) - legs)[:, None]
    start, end = stops[legs].astype(np.float64), stops[legs + 1].astype(np.float64)
    angle = np.arccos(np.clip(np.sum(start * end, axis=1, keepdims=True), -1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        round_ = (np.sin((1 - inside) * angle) * start + np.sin(inside * angle) * end) / np.sin(angle)
    straight = (1 - inside) * start + inside * end
    # Where both stops are one, or opposite each other, there is no one great circle between them.
    return unit(np.where(np.sin(angle) > 1e-6, round_, straight))


def spread(values: Numbers, length: int) -> Numbers:
    """Return values stretched or shrunk to a length, linear between them."""
    return np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(values)), values)
