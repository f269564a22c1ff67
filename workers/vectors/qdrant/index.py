"""A published version on a Qdrant server, opened to be searched."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from workers.vectors import lexical
from workers.vectors.embedding import Floats, unit
from workers.vectors.errors import InvalidQuery, SnapshotOutdated, UnknownEntry
from workers.vectors.fusion import fuse
from workers.vectors.lexical import Terms
from workers.vectors.qdrant.asking import asking
from workers.vectors.qdrant.filters import filter_of
from workers.vectors.qdrant.points import (
    WORDS_VECTOR,
    asked_words,
    dense,
    entry_of,
    is_readable,
    original_vector,
    point_id,
)
from workers.vectors.query import WORDS, Hit, Query, space_of
from workers.vectors.scaling import Scaler
from workers.vectors.schema import Entry, Schema

# Goes up with every change of what points mean, of how words are cut, or of how vectors are scaled.
FORM = 1

_PAGE = 256  # points of a request that come with their vectors
_IDS_PAGE = 5_000
_TIES_MAX = 32  # are asked for beyond the last, so that equals can be put in the order of their ids
_WIDTH = 256  # of a search through a graph, at least

Ranking = list[tuple[str, float]]


class QdrantIndex:
    """A collection that never changes any more; open it in the process that searches it."""

    def __init__(self, client: QdrantClient, name: str, collection: str) -> None:
        """Read what the builder wrote about the collection.

        Raises:
            SnapshotMissing: if it is not there, any more.
            SnapshotOutdated: if another version of this code wrote it, or the server keeps no such notes.
            EngineUnavailable, EngineRefused: see there what to do.
        """
        with asking(f"Opening {name}"):
            known: Mapping[str, Any] = client.get_collection(collection).config.metadata or {}
        if known.get("form") != FORM:
            raise SnapshotOutdated(f"{name} has the form {known.get('form')}, this code reads {FORM}.")
        self.name = name
        self.schema = Schema.from_json(known["schema"])
        self.provenance: Mapping[str, str] = known["provenance"]
        self.size: int = known["bytes"]
        self._client = client
        self._collection = collection
        self._entries: int = known["entries"]
        self._scalers = {space: Scaler.from_json(one) for space, one in known["scalers"].items()}
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
        if query.targets:
            raise InvalidQuery("An index on a vector server has no ranking by features.")
        narrowed = filter_of(query.conditions, self.schema)
        depth = query.reach
        asked = [self._near(name, vector, narrowed, depth) for name, vector in query.near.items()]
        terms = _terms(query.text or "")
        if query.text is not None:
            asked.append(_words_request(terms, narrowed, depth))
        names = [*query.near, *([] if query.text is None else [WORDS])]
        rankings = dict(zip(names, self._rankings(asked, depth), strict=True))
        fused = fuse(rankings, query.offset, query.until)
        texts = {} if query.text is None else self._texts([one.key for one in fused])
        return [
            Hit(
                id=one.key,
                score=one.score,
                parts=one.parts,
                matches=lexical.matches(terms, texts.get(one.key, {}), self.schema),
            )
            for one in fused
        ]

    def entry(self, one: str) -> Entry:
        """Return an entry as it came, its vectors scaled to unit length unless their space is standardised.

        Raises:
            UnknownEntry: if there is none of this id.
        """
        (point,) = self._points([one], payload=True, vectors=self._originals())
        return self._entry(point)

    def find(self, one: str) -> Entry | None:
        """Return an entry as `entry` does; None where there is none of this id."""
        try:
            return self.entry(one)
        except UnknownEntry:
            return None

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, in no order that means anything."""
        for page in self._pages(_PAGE, payload=["id", "texts", "attributes"], vectors=self._originals()):
            yield from map(self._entry, page)

    def ids(self) -> Iterator[str]:
        """Yield the ids of all entries, in no order that means anything."""
        for page in self._pages(_IDS_PAGE, payload=["id"], vectors=[]):
            yield from (_payload(point)["id"] for point in page)

    def vectors(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors that are compared, of unit length, shape (ids, dimensions).

        Raises:
            UnknownEntry: if an id is unknown, or its entry has no vector here.
            InvalidQuery: if there is no such space.
        """
        return self._vectors(ids, space, space)

    def originals(self, ids: Sequence[str], space: str) -> Floats:
        """Return the vectors as a query takes them: not standardised, where the space is; raises as `vectors`."""
        if space_of(self.schema, space).is_standardised:
            self._vectors(ids, space, space)  # what is the mean of all is not compared
        return self._vectors(ids, space, original_vector(space, self.schema))

    def compared(self, vectors: Floats, space: str) -> Floats:
        """Return vectors, as a query takes them, in the form in which they are compared."""
        scaler = self._scalers.get(space)
        return unit(vectors) if scaler is None else scaler.apply(vectors)

    def nearest(self, space: str, vector: Floats, k: int, *, is_exact: bool) -> list[float]:
        """Return the cosines of the k nearest to a vector as it is compared; of all, or of those that a graph finds."""
        request = _dense_request(space, vector, None, k, is_exact=is_exact)
        return [score for _, score in self._rankings([request], k)[0]]

    def _near(
        self, name: str, vector: Floats, narrowed: models.Filter | None, depth: int
    ) -> models.QueryRequest | None:
        query = self.compared(np.asarray(vector, np.float32), name)
        if not query.any():  # the mean of all is as near to everything
            return None
        return _dense_request(name, query, narrowed, depth, is_exact=name not in self._recalls)

    def _rankings(self, asked: Sequence[models.QueryRequest | None], depth: int) -> list[Ranking]:
        """Return the answers, best first, in one round trip; nothing for what asks nothing."""
        requests = [one for one in asked if one is not None]
        if not requests:
            return [[] for _ in asked]
        with asking(f"Searching {self.name}"):
            answers = iter(self._client.query_batch_points(self._collection, requests=requests))
        return [[] if one is None else _ranking(next(answers).points, depth) for one in asked]

    def _texts(self, ids: Sequence[str]) -> dict[str, Mapping[str, Sequence[str]]]:
        found = map(_payload, self._points(ids, payload=["id", "texts"], vectors=[]))
        return {one["id"]: one["texts"] for one in found}

    def _originals(self) -> list[str]:
        return [original_vector(space, self.schema) for space in self.schema.spaces]

    def _entry(self, point: models.Record) -> Entry:
        return entry_of(_payload(point), _vectors_of(point), self.schema)

    def _vectors(self, ids: Sequence[str], space: str, name: str) -> Floats:
        dimensions = space_of(self.schema, space).dimensions
        found = [_vectors_of(point).get(name) for point in self._points(ids, payload=["id"], vectors=[name])]
        for one, vector in zip(ids, found, strict=True):
            if vector is None:
                raise UnknownEntry(f"{one} has no vector in the space {space}.")
        return np.asarray(found, np.float32).reshape(len(ids), dimensions)

    def _points(self, ids: Sequence[str], *, payload: list[str] | bool, vectors: list[str]) -> list[models.Record]:
        """Return the points of some ids, in their order; raises `UnknownEntry`."""
        readable = [point_id(one) for one in ids if is_readable(one)]
        found: dict[str, models.Record] = {}
        for start in range(0, len(readable), _PAGE):
            with asking(f"Reading {self.name}"):
                points = self._client.retrieve(
                    self._collection,
                    readable[start : start + _PAGE],
                    with_payload=payload,
                    with_vectors=vectors or False,
                )
            found |= {_payload(point)["id"]: point for point in points}
        if unknown := [one for one in ids if one not in found]:
            raise UnknownEntry(f"There is no entry {unknown[0]!r}.")
        return [found[one] for one in ids]

    def _pages(self, size: int, *, payload: list[str], vectors: list[str]) -> Iterator[list[models.Record]]:
        after: Any = None
        while True:
            with asking(f"Reading {self.name}"):
                page, after = self._client.scroll(
                    self._collection,
                    limit=size,
                    offset=after,
                    with_payload=payload,
                    with_vectors=vectors or False,
                )
            yield page
            if after is None:
                return


def _terms(text: str) -> Terms:
    spoken = lexical.spoken_words(text)
    return Terms(asked=lexical.joined_words(spoken) | {word: word for word in spoken}, numbers=())


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
    return models.QueryRequest(
        query=asked_words(terms.asked),
        using=WORDS_VECTOR,
        filter=narrowed,
        limit=depth + _TIES_MAX,
        with_payload=["id"],
    )


def _ranking(points: Sequence[models.ScoredPoint], depth: int) -> Ranking:
    """Name what was found and put equals in the order of their ids."""
    named = [((point.payload or {})["id"], point.score) for point in points]
    return sorted(named, key=lambda one: (-one[1], one[0]))[:depth]


def _payload(point: models.Record) -> dict[str, Any]:
    return point.payload or {}


def _vectors_of(point: models.Record) -> Mapping[str, Any]:
    return point.vector if isinstance(point.vector, dict) else {}
