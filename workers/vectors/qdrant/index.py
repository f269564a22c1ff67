"""A published version on a Qdrant server, opened to be searched."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from workers.vectors import lexical
from workers.vectors.embedding import Floats, unit
from workers.vectors.errors import SnapshotOutdated, UnknownEntry
from workers.vectors.filters import Between, Condition
from workers.vectors.fusion import fuse
from workers.vectors.lexical import Terms
from workers.vectors.names import LOOKED_AT, bears, by_words
from workers.vectors.nearest import Rows
from workers.vectors.qdrant.filters import check_number, filter_of
from workers.vectors.qdrant.nearness import NUMBERS_VECTOR, Asked, spreads_from_json
from workers.vectors.qdrant.points import (
    WORDS_VECTOR,
    asked_words,
    dense,
    entry_of,
    original_vector,
)
from workers.vectors.qdrant.reading import IDS_PAGE, NUMBERS_PAGE, PAGE, Ranking, Reader, payload_in, vectors_in
from workers.vectors.query import FEATURES, WORDS, Hit, Query, space_of
from workers.vectors.scaling import Scaler
from workers.vectors.schema import Entry, Kind, Schema, Value
from workers.vectors.targets import Scale, Target, differences

# Goes up with every change of what points mean, of how words are cut, or of how vectors are scaled.
FORM = 2

_TIES_MAX = 32  # are asked for beyond the last, so that equals can be put in the order of their ids
_WIDTH = 256  # of a search through a graph, at least


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Table:
    """What all entries have, in the order in which the server goes through them."""

    ids: Sequence[str]
    # column -> its numbers, shape (entries,), NaN where there is none
    numbers: Mapping[str, NDArray[np.float64]]


class QdrantIndex:
    """A collection that never changes any more; open it in the process that searches it."""

    def __init__(self, client: QdrantClient, name: str, collection: str) -> None:
        """Read what the builder wrote about the collection.

        Raises:
            SnapshotMissing: if it is not there, any more.
            SnapshotOutdated: if another version of this code wrote it, or the server keeps no such notes.
            EngineUnavailable, EngineRefused: see there what to do.
        """
        self._reader = Reader(client, name, collection)
        known = self._reader.notes()
        if known.get("form") != FORM:
            raise SnapshotOutdated(f"{name} has the form {known.get('form')}, this code reads {FORM}.")
        self.name = name
        self.schema = Schema.from_json(known["schema"])
        self.provenance: Mapping[str, str] = known["provenance"]
        self.size: int = known["bytes"]
        self._entries: int = known["entries"]
        self._scalers = {space: Scaler.from_json(one) for space, one in known["scalers"].items()}
        self._spreads = spreads_from_json(known["spreads"])
        self._recalls: Mapping[str, float] = known["recalls"]

    def __len__(self) -> int:
        return self._entries

    def __enter__(self) -> "QdrantIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def recall(self) -> float:
        """Return the least share of the true ten nearest that any graph finds; 1 where search is exact."""
        return min(self._recalls.values(), default=1.0)

    def close(self) -> None:
        """Do nothing: the connections are the store's."""

    def search(self, query: Query) -> list[Hit]:
        """Return the best k hits, equals by id; fewer only where there are no more within the rankings' depth.

        Raises:
            InvalidQuery: if it asks for nothing, or for a space, a column or a number that can't be.
            SnapshotMissing: if the version was cleaned away meanwhile.
            EngineUnavailable, EngineRefused: see there what to do.
        """
        query.check(self.schema)
        narrowed = filter_of(query.conditions, self.schema)
        depth = query.reach
        asked = {name: self._near(name, vector, narrowed, depth) for name, vector in query.near.items()}
        wanted = self._wanted(query.targets)
        if wanted is not None:
            narrowed_too = filter_of([*query.conditions, *_having(query.targets)], self.schema)
            asked[FEATURES] = _sparse_request(NUMBERS_VECTOR, wanted.vector, narrowed_too, depth)
        terms = _terms(query.text or "")
        if query.text is not None:
            asked[WORDS] = _words_request(terms, narrowed, max(depth, LOOKED_AT))
        rankings = self._reader.rankings(asked, max(depth, LOOKED_AT))
        if wanted is not None:
            rankings[FEATURES] = _scored(wanted, rankings[FEATURES])
        if query.text is not None:
            named = self._named(terms, rankings[WORDS])
            rankings |= by_words(rankings[WORDS], named, is_alone=query.rankings == 1)
        fused = fuse({name: one[:depth] for name, one in rankings.items()}, query.offset, query.until)
        return [Hit(id=one.key, score=one.score, parts=one.parts, asked=terms.asked) for one in fused]

    def entry(self, one: str) -> Entry:
        """Return an entry as it came, its vectors scaled to unit length unless their space is standardised.

        Raises:
            UnknownEntry: if there is none of this id.
        """
        (point,) = self._points([one], payload=True, vectors=self._originals())
        return self._entry(point)

    def find(self, one: str) -> Entry | None:
        """Return an entry as `entry` does; None where there is none of this id."""
        return self.find_entries((one,)).get(one)

    def find_entries(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Return entries by their ids, as far as they exist."""
        found = self._reader.find(ids, payload=True, vectors=self._originals())
        return {one: self._entry(point) for one, point in found.items()}

    def every_entry(self) -> Iterator[Entry]:
        """Yield all entries, in no order that means anything."""
        for page in self._reader.pages(PAGE, payload=["id", "texts", "attributes"], vectors=self._originals()):
            yield from map(self._entry, page)

    def ids(self) -> Iterator[str]:
        """Yield the ids of all entries, in no order that means anything."""
        for page in self._reader.pages(IDS_PAGE, payload=["id"], vectors=[]):
            yield from (payload_in(point)["id"] for point in page)

    def vectors(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors that are compared, of unit length, shape (ids, dimensions).

        Raises:
            UnknownEntry: if an id is unknown, or its entry has no vector here.
            InvalidQuery: if there is no such space.
        """
        return self._vectors(ids, space, space)

    def find_vectors(self, ids: Iterable[str], space: str) -> tuple[list[str], Floats]:
        """Return those of some ids that have a vector, in their order, and the vectors; raises `InvalidQuery`."""
        dimensions = space_of(self.schema, space).dimensions
        points = self._reader.find(ids, payload=["id"], vectors=[space])
        found = {one: vector for one, point in points.items() if (vector := vectors_in(point).get(space)) is not None}
        return list(found), np.asarray(list(found.values()), np.float32).reshape(len(found), dimensions)

    def originals(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors as a query takes them: not standardised, where the space is; raises as `vectors`."""
        if space_of(self.schema, space).is_standardised:
            self._vectors(ids, space, space)  # what is the mean of all is not compared
        return self._vectors(ids, space, original_vector(space, self.schema))

    def as_query(self, direction: Floats, space: str) -> Floats:
        """Return a direction among the vectors that are compared, shape (dimensions,), as a query takes it."""
        space_of(self.schema, space)
        scaler = self._scalers.get(space)
        return direction if scaler is None else scaler.undo(direction)

    def differences(self, targets: Mapping[str, Target], attributes: Mapping[str, Value]) -> dict[str, float]:
        """Return how far an entry's attributes are from each target, in deviations; raises `InvalidQuery`."""
        for column, target in targets.items():
            self._check_target(column, target)
        return differences(targets, attributes, lambda column, scale: self._spreads[column, scale])

    def count(self, conditions: Sequence[Condition]) -> int:
        """Return how many entries meet every condition; raises `InvalidQuery`."""
        return self._reader.count(filter_of(conditions, self.schema))

    def matching(self, conditions: Sequence[Condition], limit: int) -> list[str]:
        """Return the ids of entries that meet every condition, `limit` at most, always the same; raises as `count`."""
        narrowed = filter_of(conditions, self.schema)
        pages = self._reader.pages(min(limit, IDS_PAGE), payload=["id"], vectors=[], narrowed=narrowed)
        return [payload_in(point)["id"] for point in islice(chain.from_iterable(pages), limit)]

    def highest(self, column: str, k: int, conditions: Sequence[Condition] = ()) -> list[str]:
        """Return the ids of the k entries with the highest numbers in a column, highest first; raises as `count`."""
        having = filter_of([*conditions, Between(column)], self.schema)
        found = map(payload_in, self._reader.highest(column, k, having))
        return [one["id"] for one in sorted(found, key=lambda one: (-one["numbers"][column], one["id"]))]

    def every_vector(self, space: str) -> tuple[Rows, Floats]:
        """Return the rows that have a vector, and those that are compared, of unit length, shape (rows, dimensions)."""
        dimensions = space_of(self.schema, space).dimensions
        rows: list[int] = []
        blocks = [np.empty((0, dimensions), np.float32)]
        first = 0
        for page in self._reader.pages(max(PAGE, NUMBERS_PAGE // dimensions), payload=[], vectors=[space]):
            vectors = [vectors_in(point).get(space) for point in page]
            rows += [first + place for place, vector in enumerate(vectors) if vector is not None]
            blocks.append(np.reshape([one for one in vectors if one is not None], (-1, dimensions)).astype(np.float32))
            first += len(page)
        return np.asarray(rows, np.int64), np.concatenate(blocks)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return a column of numbers by row, shape (all rows,), NaN where there is none; raises `InvalidQuery`."""
        check_number(column, self.schema)
        return self._rows.numbers[column]

    def ids_at(self, rows: Rows) -> list[str]:
        """Return the ids of some rows, in the rows' order."""
        return [self._rows.ids[row] for row in rows]

    @cached_property
    def _rows(self) -> "_Table":
        names = [name for name, kind in self.schema.columns.items() if kind is Kind.NUMBER]
        ids: list[str] = []
        blocks = [np.empty((0, len(names)))]
        for page in self._reader.pages(IDS_PAGE, payload=["id", "numbers"], vectors=[]):
            known = [payload_in(point) for point in page]
            ids += [one["id"] for one in known]
            blocks.append(np.asarray([[one["numbers"].get(name, math.nan) for name in names] for one in known]))
        return _Table(ids=ids, numbers=dict(zip(names, np.concatenate(blocks).T, strict=True)))

    def _named(self, terms: Terms, ranking: Ranking) -> set[str]:
        """Return the ids of those whose name is all that is asked for."""
        if not terms.spoken:
            return set()
        ids = [one for one, _ in ranking[:LOOKED_AT]]
        found = self._reader.find(ids, payload=["texts"], vectors=[])
        return {one for one, point in found.items() if bears(terms, payload_in(point)["texts"], self.schema)}

    def _wanted(self, targets: Mapping[str, Target]) -> Asked | None:
        for column, target in targets.items():
            self._check_target(column, target)
        return Asked.of(targets, self.schema, self._spreads) if targets else None

    def _check_target(self, column: str, target: Target) -> None:
        check_number(column, self.schema)
        target.check(column)

    def compared(self, vectors: Floats, space: str) -> Floats:
        """Return vectors, as a query takes them, in the form in which they are compared."""
        scaler = self._scalers.get(space)
        return unit(vectors) if scaler is None else scaler.apply(vectors)

    def nearest(self, space: str, vector: Floats, k: int, *, is_exact: bool) -> list[float]:
        """Return the cosines of the k nearest to a vector as it is compared; of all, or of those that a graph finds."""
        request = _dense_request(space, vector, None, k, is_exact=is_exact)
        return [score for _, score in self._reader.rankings({space: request}, k)[space]]

    def _near(
        self, name: str, vector: Floats, narrowed: models.Filter | None, depth: int
    ) -> models.QueryRequest | None:
        query = self.compared(np.asarray(vector, np.float32), name)
        if not query.any():  # the mean of all is as near to everything
            return None
        return _dense_request(name, query, narrowed, depth, is_exact=name not in self._recalls)

    def _originals(self) -> list[str]:
        return [original_vector(space, self.schema) for space in self.schema.spaces]

    def _entry(self, point: models.Record) -> Entry:
        return entry_of(payload_in(point), vectors_in(point), self.schema)

    def _vectors(self, ids: Sequence[str], space: str, name: str) -> Floats:
        dimensions = space_of(self.schema, space).dimensions
        found = [vectors_in(point).get(name) for point in self._points(ids, payload=["id"], vectors=[name])]
        for one, vector in zip(ids, found, strict=True):
            if vector is None:
                raise UnknownEntry(f"{one} has no vector in the space {space}.")
        return np.asarray(found, np.float32).reshape(len(ids), dimensions)

    def _points(self, ids: Sequence[str], *, payload: list[str] | bool, vectors: list[str]) -> list[models.Record]:
        """Return the points of some ids, in their order; raises `UnknownEntry`."""
        found = self._reader.find(ids, payload=payload, vectors=vectors)
        if unknown := [one for one in ids if one not in found]:
            raise UnknownEntry(f"There is no entry {unknown[0]!r}.")
        return [found[one] for one in ids]


def _terms(text: str) -> Terms:
    spoken = lexical.spoken_words(text)
    asked = lexical.joined_words(spoken) | {word: word for word in spoken}
    return Terms(asked=asked, numbers=(), spoken=lexical.name_in(text))


def _dense_request(
    space: str, vector: Floats, narrowed: models.Filter | None, depth: int, *, is_exact: bool
) -> models.QueryRequest:
    limit = depth + _TIES_MAX
    params = models.SearchParams(exact=True) if is_exact else models.SearchParams(hnsw_ef=max(_WIDTH, limit))
    return models.QueryRequest(
        query=dense(vector), using=space, filter=narrowed, limit=limit, params=params, with_payload=["id"]
    )


def _words_request(terms: Terms, narrowed: models.Filter | None, depth: int) -> models.QueryRequest | None:
    if not terms.asked:
        return None
    return _sparse_request(WORDS_VECTOR, asked_words(terms.asked), narrowed, depth)


def _sparse_request(
    name: str, asked: models.SparseVector, narrowed: models.Filter | None, depth: int
) -> models.QueryRequest:
    return models.QueryRequest(query=asked, using=name, filter=narrowed, limit=depth + _TIES_MAX, with_payload=["id"])


def _having(targets: Mapping[str, Target]) -> list[Condition]:
    """Return the conditions that a number that has a place on its target's scale meets."""
    least = {Scale.OCTAVES: math.ulp(0.0)}  # nothing but what is above 0 has a logarithm
    return [Between(column, least.get(target.scale, -math.inf)) for column, target in targets.items()]


def _scored(wanted: Asked, ranking: Ranking) -> Ranking:
    """Return a ranking by products with the scores that every engine gives."""
    scores = wanted.scores(np.asarray([product for _, product in ranking], np.float64)).tolist()
    return [(one, score) for (one, _), score in zip(ranking, scores, strict=True)]
