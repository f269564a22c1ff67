"""Building the playlist that a request asks for out of a snapshot of the tracks' collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shared.playlists import EnergyShape, Playlist, PlaylistRequest, PlaylistTrack
from workers.taste.pool import SPACE, Pool, artists_of, labels, number_of, title_of, track_of
from workers.taste.route import Route, spread
from workers.taste.sequence import Spacing, Wishes, sequence
from workers.taste.transitions import Numbers, camelot, key_apart, tempo_apart
from workers.vectors.engine import Index
from workers.vectors.errors import UnknownEntry
from workers.vectors.filters import Condition, HasAny
from workers.vectors.schema import Entry

_SHAPES = {
    EnergyShape.RISING: (0.2, 0.9),
    EnergyShape.FALLING: (0.9, 0.2),
    EnergyShape.ARC: (0.3, 0.9, 0.3),
}
_STRAYED = 0.2  # mean distance from the energy that was wanted, above which it is said
_NEAR_TEMPO, _NEAR_KEY, _NEAR_ENERGY = 0.12, 0.0, 0.1  # below, a transition is worth a word: 0.12 are 4 % of tempo
_SAME_ID_MAX = 100  # users' copies of one track that are looked through


class _Named(NamedTuple):
    """The entries of the tracks that a request names."""

    first: str | None
    seeds: list[str]
    last: str | None

    @property
    def stops(self) -> list[str]:
        return [one for one in (self.first, *self.seeds, self.last) if one is not None]


def build(snapshot: Index, request: PlaylistRequest) -> Playlist:
    """Return the playlist, always the same for a snapshot and a request; its notes say what had to give way.

    Raises:
        UnknownEntry: if the collection does not have the track to begin or to end with, or none of the seeds.
    """
    notes: list[str] = []
    named = _named(snapshot, request, notes)
    conditions = (HasAny("user", (request.user_id,)),) if request.own_only else ()
    route = _route(snapshot, request, named)
    pool = Pool.of(snapshot, [*route.gather(snapshot, conditions), *named.stops])
    if request.own_only:
        pool = _owned(snapshot, pool, named, request.user_id)
    order, pool, route = _ordered(snapshot, request, route, pool, conditions, named, notes)
    if route.length < request.length:
        notes.append(f"Only {route.length} different tracks are to be found; {request.length} were asked for.")
    _note_energy(pool, order, route, notes)
    return Playlist(tracks=tuple(_tracks(pool, order, route)), notes=tuple(notes))


def _named(snapshot: Index, request: PlaylistRequest, notes: list[str]) -> _Named:
    first, last = (
        None if one is None else _entry_of(snapshot, one, request.user_id) for one in (request.from_, request.to)
    )
    for name, entry in ((request.from_, first), (request.to, last)):
        if name is not None and entry is None:
            raise UnknownEntry(f"The track {name!r} is not in the index, or no sound of it is known.")
    found = {name: _entry_of(snapshot, name, request.user_id) for name in request.seeds}
    missing = [repr(name) for name, entry in found.items() if entry is None]
    named = _Named(first, [entry for entry in found.values() if entry is not None], last)
    if not named.stops:
        raise UnknownEntry(f"None of the seeds is in the index with its sound: {', '.join(missing[:5])}.")
    if missing:
        notes.append(f"Left out, because the index does not have their sound: {', '.join(missing)}.")
    return named


def _entry_of(snapshot: Index, track_id: str, user_id: str) -> str | None:
    """Return the entry of a track, the user's own if there is one; None where none has a vector."""
    copies = snapshot.matching((HasAny("track", (track_id,)),), _SAME_ID_MAX)
    # Labels make no difference of case, ids do.
    exact = sorted(one for one, entry in snapshot.find_entries(copies).items() if track_of(entry) == track_id)
    sounding, _ = snapshot.find_vectors(dict.fromkeys((f"{user_id}\n{track_id}", *exact)), SPACE)
    return next(iter(sounding), None)


def _route(snapshot: Index, request: PlaylistRequest, named: _Named) -> Route:
    is_path = named.first is not None and named.last is not None
    energy = _energy(snapshot, request, named)
    return Route(stops=snapshot.vectors(named.stops, SPACE), is_path=is_path, energy=energy, length=request.length)


def _energy(snapshot: Index, request: PlaylistRequest, named: _Named) -> Numbers | None:
    curve = request.energy_curve
    if curve is None:
        return None
    if curve is EnergyShape.STEADY:
        known = [number_of(entry, "energy") for entry in snapshot.find_entries(named.stops).values()]
        levels = [one for one in known if one is not None]
        return np.full(request.length, np.mean(levels)) if levels else None
    values = _SHAPES[curve] if isinstance(curve, EnergyShape) else curve
    return spread(np.asarray(values, np.float64), request.length)


def _owned(snapshot: Index, pool: Pool, named: _Named, user_id: str) -> Pool:
    """Leave out seeds of others' libraries, and tracks of users whose names differ in case alone.

    The track to begin or to end with was asked for by name.
    """
    ends = (named.first, named.last)
    own = [entry.id for entry in pool.entries if entry.id in ends or user_id in labels(entry, "user")]
    return Pool.of(snapshot, own)


def _ordered(
    snapshot: Index,
    request: PlaylistRequest,
    route: Route,
    pool: Pool,
    conditions: Sequence[Condition],
    named: _Named,
    notes: list[str],
) -> tuple[list[int], Pool, Route]:
    """Return the tracks in their order, the pool that they are of and the way as long as there are tracks for it."""
    wanted = Spacing.NEVER_AGAIN if request.no_repeat_artist else Spacing.NOT_IN_A_ROW
    order = sequence(pool, _wishes(pool, route, named), wanted)
    if order is None:
        pool = route.further(snapshot, conditions, pool)
        if request.own_only:
            pool = _owned(snapshot, pool, named, request.user_id)
    for spacing in sorted((one for one in Spacing if one <= wanted), reverse=True):
        order = order or sequence(pool, _wishes(pool, route, named), spacing)
        if order is not None:
            _note_spacing(pool, order, wanted, named, notes)
            return order, pool, route
    for length in range(_different(pool, named), 0, -1):
        route = route.shortened(length)
        order = sequence(pool, _wishes(pool, route, named), Spacing.ANY)
        if order is not None:
            return order, pool, route
    raise UnknownEntry("No track is to be found that meets the request.")


def _wishes(pool: Pool, route: Route, named: _Named) -> Wishes:
    ends = [None if one is None else pool.places[one] for one in (named.first, named.last)]
    return Wishes(fit=route.fit(pool.vectors), energy=route.energy, first=ends[0], last=ends[1])


def _different(pool: Pool, named: _Named) -> int:
    """Return how many tracks a pool has that are not the same."""
    ends = {pool.places[one] for one in (named.first, named.last) if one is not None}
    taken = {int(same) for end in ends for same in pool.same_work[end]}
    count = len(ends)
    for place in range(len(pool)):
        if place not in taken:
            count += 1
            taken.update(map(int, pool.same_work[place]))
    return count


def _note_spacing(pool: Pool, order: Sequence[int], wanted: Spacing, named: _Named, notes: list[str]) -> None:
    """Say where an artist stands more often than was wanted, and where that is so because both ends were named."""
    shared = [
        (before, place)
        for before in range(len(order))
        for place in range(before + 1, len(order))
        if order[place] in pool.same_artist[order[before]]
    ]
    ends = (0, len(order) - 1)
    if ends in shared and wanted is Spacing.NEVER_AGAIN and named.first is not None and named.last is not None:
        shared.remove(ends)
        notes.append("The first and the last track are by one artist, as they were asked for.")
    in_a_row = sum(place == before + 1 for before, place in shared)
    if in_a_row:
        notes.append(f"There are too few artists near this: {in_a_row} times one stands twice in a row.")
    elif shared and wanted is Spacing.NEVER_AGAIN:
        notes.append("There are too few artists near this, so some stand more than once, never in a row.")


def _note_energy(pool: Pool, order: Sequence[int], route: Route, notes: list[str]) -> None:
    if route.energy is None:
        return
    apart = np.abs(pool.numbers("energy")[order] - route.energy)
    unknown = int(np.isnan(apart).sum())
    if unknown:
        notes.append(f"The energy of {unknown} tracks is not known.")
    if unknown < len(order) and float(np.nanmean(apart)) > _STRAYED:
        notes.append(
            f"The energy strays from the curve by {float(np.nanmean(apart)):.2f} on average: nothing is nearer."
        )


# In words


def _tracks(pool: Pool, order: Sequence[int], route: Route) -> list[PlaylistTrack]:
    fit = route.fit(pool.vectors)
    return [
        _track(pool, place, before, float(fit[position, place]), _wanted_energy(route, position))
        for position, (before, place) in enumerate(zip([None, *order[:-1]], order, strict=True))
    ]


def _wanted_energy(route: Route, position: int) -> float | None:
    return None if route.energy is None else float(route.energy[position])


def _track(pool: Pool, place: int, before: int | None, fit: float, energy: float | None) -> PlaylistTrack:
    entry = pool.entries[place]
    similarity = None if before is None else float(pool.vectors[before] @ pool.vectors[place])
    following = [] if before is None else _following(pool.entries[before], entry)
    return PlaylistTrack(
        track_id=track_of(entry),
        user_id=next(iter(labels(entry, "user")), ""),
        title=title_of(entry),
        artists=tuple(artists_of(entry)),
        tempo=number_of(entry, "tempo"),
        energy=number_of(entry, "energy"),
        camelot=camelot(number_of(entry, "key"), number_of(entry, "mode")),
        fit=round(fit, 4),
        similarity=None if similarity is None else round(similarity, 4),
        why=_in_words(entry, fit, energy, similarity, following),
    )


def _in_words(
    entry: Entry, fit: float, energy: float | None, similarity: float | None, following: Sequence[str]
) -> str:
    parts = [f"sounds {_alike(fit)} what is wanted here"]
    own = number_of(entry, "energy")
    if energy is not None and own is not None and abs(own - energy) <= _NEAR_ENERGY:
        parts.append(f"has the energy for it ({own:.2f} for {energy:.2f})")
    if similarity is not None:
        parts.append(f"{_alike(similarity)} the one before")
    text = "; ".join((*parts, *following))
    return f"{text[0].upper()}{text[1:]}."


def _alike(cosine: float) -> str:
    return f"{cosine:.0%} like" if round(cosine, 2) > 0 else "unlike"


def _following(before: Entry, entry: Entry) -> list[str]:
    """Say what makes a track a good follower of the one before it."""
    (tempo_before, key_before), (tempo_now, key_now) = _sounds(before), _sounds(entry)
    parts = []
    if float(tempo_apart(tempo_before, tempo_now)[0, 0]) <= _NEAR_TEMPO:
        parts.append("a tempo that goes with it")
    if float(key_apart(key_before, key_now)[0, 0]) <= _NEAR_KEY:
        parts.append("a key that goes with it")
    return parts


def _sounds(entry: Entry) -> tuple[Numbers, tuple[Numbers, Numbers]]:
    """Return tempo, and key with mode, as arrays of one."""
    tempo, key, mode = (number_of(entry, column) for column in ("tempo", "key", "mode"))
    return _one(tempo), (_one(key), _one(mode))


def _one(value: float | None) -> Numbers:
    return np.asarray([np.nan if value is None else value], np.float64)
