"""Building a version on a Qdrant server: whole and checked before anybody can see it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import QdrantClient, models

from workers.vectors.embedding import Floats
from workers.vectors.errors import SnapshotUnsound
from workers.vectors.nearest import Nearest
from workers.vectors.qdrant.asking import asking
from workers.vectors.qdrant.index import FORM, QdrantIndex
from workers.vectors.qdrant.nearness import NUMBERS_VECTOR, Spreads, said_numbers, spreads_of, spreads_to_json
from workers.vectors.qdrant.points import (
    WORDS_VECTOR,
    dense,
    label_key,
    number_key,
    original_vector,
    payload_of,
    point_id,
    said_words,
)
from workers.vectors.qdrant.spool import Spool, Spooled
from workers.vectors.recall import ENOUGH, NEIGHBOURS, Trial, queries_near
from workers.vectors.scaling import Scaler
from workers.vectors.schema import Entry, Kind, Schema, Space
from workers.vectors.space import SCANNED_ROWS_MAX

_NUMBERS_MAX = 250_000  # of a request: some megabytes of JSON, where a server takes 32
_POINTS_MAX = 256
_SAMPLE = 100  # queries by which the graphs are measured, for a server compares them with every vector
_SCANNED_NUMBERS_MAX = 30_000_000  # above, a server needs more than 10 ms to compare with every vector
# Graphs are made when all points are there, which is quicker than making them grow; the second is Qdrant's own value.
_NO_GRAPHS, _GRAPHS = 0, 10_000

_SETTLING_SECONDS = 3 * 3600.0  # for a server to make its graphs
_IDLE_SECONDS = 30.0  # a server that has work and does not begin it is not waited for longer
_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a version is to be."""

    # under which it is opened
    name: str
    # under which its points stand
    collection: str
    # the alias that always leads to the newest version
    newest: str


class QdrantBuild:
    """A version in the making: in a file here first, on the server when it is published."""

    def __init__(
        self, client: QdrantClient, place: Place, schema: Schema, *, folder: Path, provenance: Mapping[str, str]
    ) -> None:
        """Begin with nothing, in an empty folder."""
        self._client = client
        self._place = place
        self._schema = schema
        self._provenance = dict(provenance)
        self._spool = Spool(folder, schema)

    def put(self, entry: Entry) -> None:
        """Add an entry, in place of the one of this id if there is one; raises `InvalidEntry`."""
        self._spool.put(entry)

    def remove(self, one: str) -> None:
        """Take the entry of this id out, if there is one."""
        self._spool.remove(one)

    def publish(self) -> str:
        """Send, check and name the version; return its name, under which it can be opened from now on.

        Raises:
            SnapshotUnsound: if it fails its checks; then nothing is published.
            SnapshotMissing: if a later build has thrown it away meanwhile.
            EngineUnavailable, EngineRefused: see there what to do; nothing is published.
        """
        with asking(f"Publishing {self._place.name}"):
            scalers, spreads = self._spool.scalers(), spreads_of(self._spool.columns())
            self._create(scalers, spreads)
            self._send(scalers, spreads)
            self._settle()
            self._check()
            self._measure()
            self._name()
        return self._place.name

    def close(self) -> None:
        """Let go of the file."""
        self._spool.close()

    def _create(self, scalers: Mapping[str, Scaler], spreads: Spreads) -> None:
        self._client.create_collection(
            self._place.collection,
            vectors_config=dict(_vectors(self._schema)),
            sparse_vectors_config={
                WORDS_VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF),
                NUMBERS_VECTOR: models.SparseVectorParams(),
            },
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=_NO_GRAPHS),
            metadata={
                "form": FORM,
                "schema": self._schema.to_json(),
                "provenance": self._provenance,
                "entries": len(self._spool),
                "bytes": self._spool.size(),
                "scalers": {name: scaler.to_json() for name, scaler in scalers.items()},
                "spreads": spreads_to_json(spreads),
                "recalls": {},
            },
        )
        for name, kind in self._schema.columns.items():
            key, form = (
                (number_key(name), models.PayloadSchemaType.FLOAT)
                if kind is Kind.NUMBER
                else (label_key(name), models.PayloadSchemaType.KEYWORD)
            )
            self._client.create_payload_index(self._place.collection, key, field_schema=form, wait=True)

    def _send(self, scalers: Mapping[str, Scaler], spreads: Spreads) -> None:
        mean = self._spool.mean_length()
        numbers = sum(space.dimensions * (1 + space.is_standardised) for space in self._schema.spaces.values())
        size = max(1, min(_POINTS_MAX, _NUMBERS_MAX // max(numbers, 1)))
        points: list[models.PointStruct] = []
        for one in self._spool.entries():
            points.append(_point(one, self._schema, scalers, spreads, mean))
            if len(points) == size:
                self._upsert(points)
                points = []
        self._upsert(points)

    def _upsert(self, points: Sequence[models.PointStruct]) -> None:
        if points:
            self._client.upsert(self._place.collection, list(points), wait=True)

    def _settle(self) -> None:
        """Let the server make its graphs, and wait until it has."""
        self._client.update_collection(
            self._place.collection, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=_GRAPHS)
        )
        start = time.monotonic()
        while (status := self._status()) is not models.CollectionStatus.GREEN:
            waited = time.monotonic() - start
            if status is models.CollectionStatus.RED or waited > _SETTLING_SECONDS:
                raise SnapshotUnsound(f"{self._place.name} is {status} on the server after {waited:.0f} s.")
            if status is models.CollectionStatus.GREY and waited > _IDLE_SECONDS:
                return
            time.sleep(_POLL_SECONDS)

    def _status(self) -> models.CollectionStatus:
        return self._client.get_collection(self._place.collection).status

    def _check(self) -> None:
        found = self._client.count(self._place.collection, exact=True).count
        if found != len(self._spool):
            raise SnapshotUnsound(f"{len(self._spool)} entries were sent, but the server counts {found}.")

    def _measure(self) -> None:
        """Note what the graphs find where there are too many vectors to compare all; too little, and all are."""
        index = QdrantIndex(self._client, self._place.name, self._place.collection)
        recalls = {}
        for name, space in self._schema.spaces.items():
            if not _is_scanned(len(self._spool), space):
                found = self._recall(index, name)
                if found >= ENOUGH:
                    recalls[name] = found
        if recalls:
            self._client.update_collection(self._place.collection, metadata={"recalls": recalls})

    def _recall(self, index: QdrantIndex, space: str) -> float:
        sample = index.compared(self._spool.sample(space, _SAMPLE), space)
        if not len(sample):
            return 1.0
        queries = queries_near(sample, np.arange(len(sample)), _SAMPLE)
        truth = [_Asked(index, space, is_exact=True).search(one, NEIGHBOURS).scores for one in queries]
        return Trial(queries=queries, truth=truth).recall(_Asked(index, space, is_exact=False))

    def _name(self) -> None:
        """Make the version visible, in one request that does all or nothing."""
        place = self._place
        former = models.DeleteAlias(alias_name=place.newest)
        names = (
            models.CreateAlias(collection_name=place.collection, alias_name=name) for name in (place.name, place.newest)
        )
        self._client.update_collection_aliases(
            [
                models.DeleteAliasOperation(delete_alias=former),
                *(models.CreateAliasOperation(create_alias=name) for name in names),
            ]
        )


class _Asked:
    """A space of a version as something that finds its nearest vectors."""

    def __init__(self, index: QdrantIndex, space: str, *, is_exact: bool) -> None:
        self._index = index
        self._space = space
        self._is_exact = is_exact

    def search(self, query: Floats, k: int, allowed: object = None) -> Nearest:
        scores = self._index.nearest(self._space, query, k, is_exact=self._is_exact)
        return Nearest(rows=np.empty(0, np.int64), scores=np.asarray(scores, np.float32))


def _is_scanned(entries: int, space: Space) -> bool:
    return entries <= SCANNED_ROWS_MAX and entries * space.dimensions <= _SCANNED_NUMBERS_MAX


def _vectors(schema: Schema) -> Mapping[str, models.VectorParams]:
    found = {}
    for name, space in schema.spaces.items():
        found[name] = models.VectorParams(size=space.dimensions, distance=models.Distance.COSINE)
        if space.is_standardised:
            # kept, never searched: so no graph is made of it, and it comes back as it went in
            found[original_vector(name, schema)] = models.VectorParams(
                size=space.dimensions,
                distance=models.Distance.DOT,
                on_disk=True,
                hnsw_config=models.HnswConfigDiff(m=0),
            )
    return found


def _point(
    one: Spooled, schema: Schema, scalers: Mapping[str, Scaler], spreads: Spreads, mean: float
) -> models.PointStruct:
    vectors: dict[str, Any] = {}
    for name, vector in one.entry.vectors.items():
        vectors[original_vector(name, schema)] = dense(vector)
        if name in scalers and (scaled := scalers[name].apply(vector)).any():
            vectors[name] = dense(scaled)
    if one.weights:
        vectors[WORDS_VECTOR] = said_words(one.weights, one.length, mean)
    if (numbers := said_numbers(one.entry.attributes, schema, spreads)) is not None:
        vectors[NUMBERS_VECTOR] = numbers
    return models.PointStruct(id=point_id(one.entry.id), vector=vectors, payload=payload_of(one.entry, schema))
