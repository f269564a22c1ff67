"""Putting tracks in an order by beam search: each where it fits, and each a good follower of the one before."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from workers.taste.pool import Pool
from workers.taste.transitions import UNKNOWN, Numbers, key_apart, tempo_apart

Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

BEAM = 16  # beginnings that are kept at each place
# What counts how much: a cosine, an energy and a share of half an octave all run over about 1.
_FIT, _ENERGY, _SIMILARITY, _TEMPO, _KEY = 1.0, 2.0, 0.5, 0.4, 0.3


class Spacing(IntEnum):
    """How far apart tracks of one artist stand."""

    ANY = 0
    NOT_IN_A_ROW = 1
    NEVER_AGAIN = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Wishes:
    """What is wanted at each place."""

    # cosine of each track with what is wanted there, shape (length, tracks)
    fit: NDArray[np.float32]
    # energy, 0 to 1, shape (length,); None for any
    energy: Numbers | None = None
    # places in the pool of the tracks that are set at the beginning and at the end
    first: int | None = None
    last: int | None = None

    def __len__(self) -> int:
        return len(self.fit)


def sequence(pool: Pool, wishes: Wishes, spacing: Spacing) -> list[int] | None:
    """Return the places in the pool of the tracks in their order; None where the spacing leaves too few."""
    search = _Search(pool, wishes, spacing)
    for position in range(len(wishes)):
        if not search.step(position):
            return None
    return search.best()


class _Search:
    """The best beginnings so far, all of one length."""

    def __init__(self, pool: Pool, wishes: Wishes, spacing: Spacing) -> None:
        self._pool = pool
        self._wishes = wishes
        self._spacing = spacing
        self._tempo = pool.numbers("tempo")
        self._keys = (pool.numbers("key"), pool.numbers("mode"))
        self._energy = pool.numbers("energy")
        self._paths = np.empty((1, 0), np.int64)
        self._costs = np.zeros(1)
        self._taken: Flags = np.zeros((1, len(pool)), np.bool_)
        for end in (wishes.first, wishes.last):
            if end is not None:
                self._take(self._taken[0], end)

    def best(self) -> list[int]:
        return [int(one) for one in self._paths[0]]

    def step(self, position: int) -> bool:
        """Lengthen every beginning by one track and keep the best; False where none can be."""
        costs = self._costs[:, None] + self._cost_at(position) + self._cost_after(self._paths[:, -1:].ravel())
        costs[~self._possible(position)] = np.inf
        chosen = _cheapest(costs.ravel())
        if not len(chosen):
            return False
        origins, places = np.divmod(chosen, len(self._pool))
        self._costs = costs.ravel()[chosen]
        self._paths = np.column_stack((self._paths[origins], places))
        self._taken = self._taken[origins]
        for taken, place in zip(self._taken, places, strict=True):
            self._take(taken, int(place))
        return True

    def _take(self, taken: Flags, place: int) -> None:
        taken[self._pool.same_work[place]] = True
        if self._spacing is Spacing.NEVER_AGAIN:
            taken[self._pool.same_artist[place]] = True

    def _possible(self, position: int) -> Flags:
        end = self._set_at(position)
        if end is not None:
            possible = np.zeros_like(self._taken)
            possible[:, end] = True
            return possible
        possible = ~self._taken
        if self._spacing >= Spacing.NOT_IN_A_ROW:
            for row, last in enumerate(map(int, self._paths[:, -1:].ravel())):
                possible[row, self._pool.same_artist[last]] = False
            following = self._set_at(position + 1)
            if following is not None:
                possible[:, self._pool.same_artist[following]] = False
        return possible

    def _set_at(self, position: int) -> int | None:
        if position == 0 and self._wishes.first is not None:
            return self._wishes.first
        return self._wishes.last if position == len(self._wishes) - 1 else None

    def _cost_at(self, position: int) -> Numbers:
        cost: Numbers = _FIT * (1 - self._wishes.fit[position].astype(np.float64))
        if self._wishes.energy is not None:
            apart = np.abs(self._energy - self._wishes.energy[position])
            cost += _ENERGY * np.where(np.isnan(apart), UNKNOWN, apart)
        return cost

    def _cost_after(self, last: Places) -> Numbers | float:
        if not len(last):
            return 0.0
        similarity = (self._pool.vectors[last] @ self._pool.vectors.T).astype(np.float64)
        keys = (self._keys[0][last], self._keys[1][last])
        tempo = tempo_apart(self._tempo[last], self._tempo)
        return np.asarray(
            _SIMILARITY * (1 - similarity) + _TEMPO * tempo + _KEY * key_apart(keys, self._keys), np.float64
        )


def _cheapest(costs: Numbers) -> Places:
    """Return the places of the lowest finite costs, lowest first, equals in their order."""
    few = np.argpartition(costs, BEAM)[:BEAM] if len(costs) > BEAM else np.arange(len(costs))
    few = np.sort(few[np.isfinite(costs[few])])
    return np.asarray(few[np.argsort(costs[few], kind="stable")], np.int64)
