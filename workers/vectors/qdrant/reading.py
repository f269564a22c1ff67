"""Reading a collection on a Qdrant server: each method is one question, or as many as its pages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from qdrant_client import QdrantClient, models

from workers.vectors.qdrant.asking import asking
from workers.vectors.qdrant.points import number_key, point_id
from workers.vectors.schema import is_readable

PAGE = 256  # points of a request that come with their vectors
IDS_PAGE = 5_000  # points that come without
NUMBERS_PAGE = 250_000  # numbers of vectors that come alone

Ranking = Sequence[tuple[str, float]]  # ids and scores, best first


class Reader:
    """Reads one collection; every method may raise `SnapshotMissing`, `EngineUnavailable` and `EngineRefused`."""

    def __init__(self, client: QdrantClient, name: str, collection: str) -> None:
        """Ask nothing yet; `name` stands in messages."""
        self._client = client
        self._name = name
        self._collection = collection

    def notes(self) -> Mapping[str, Any]:
        """Return what the builder wrote about the collection; nothing where it wrote nothing."""
        with asking(f"Opening {self._name}"):
            return self._client.get_collection(self._collection).config.metadata or {}

    def rankings(self, asked: Mapping[str, models.QueryRequest | None], depth: int) -> dict[str, Ranking]:
        """Return the answers by name, best first, equals by id, in one round trip; nothing for what asks nothing."""
        requests = {name: one for name, one in asked.items() if one is not None}
        if not requests:
            return {name: [] for name in asked}
        with asking(f"Searching {self._name}"):
            answers = self._client.query_batch_points(self._collection, requests=list(requests.values()))
        found = {name: _ranking(one.points, depth) for name, one in zip(requests, answers, strict=True)}
        return {name: found.get(name, []) for name in asked}

    def count(self, narrowed: models.Filter | None) -> int:
        """Return how many points a filter lets through."""
        with asking(f"Counting in {self._name}"):
            return self._client.count(self._collection, count_filter=narrowed, exact=True).count

    def highest(self, column: str, k: int, narrowed: models.Filter | None) -> list[models.Record]:
        """Return the k points with the highest numbers in a column, in no order; a filter lets through who has one."""
        order = models.OrderBy(key=number_key(column), direction=models.Direction.DESC)
        with asking(f"Reading {self._name}"):
            points, _ = self._client.scroll(
                self._collection, scroll_filter=narrowed, order_by=order, limit=k, with_payload=["id", "numbers"]
            )
        return points

    def find(self, ids: Iterable[str], *, payload: list[str] | bool, vectors: list[str]) -> dict[str, models.Record]:
        """Return the points of those ids that are there, in their order."""
        wanted = {point_id(one): one for one in ids if is_readable(one)}
        keys = list(wanted)
        found: dict[str, models.Record] = {}
        for start in range(0, len(keys), PAGE):
            with asking(f"Reading {self._name}"):
                points = self._client.retrieve(
                    self._collection, keys[start : start + PAGE], with_payload=payload, with_vectors=vectors or False
                )
            found |= {str(point.id): point for point in points}
        return {one: found[key] for key, one in wanted.items() if key in found}

    def pages(
        self, size: int, *, payload: list[str], vectors: list[str], narrowed: models.Filter | None = None
    ) -> Iterator[list[models.Record]]:
        """Yield all points that a filter lets through, so many at a time, always in the same order."""
        after: Any = None
        while True:
            with asking(f"Reading {self._name}"):
                page, after = self._client.scroll(
                    self._collection,
                    scroll_filter=narrowed,
                    limit=size,
                    offset=after,
                    with_payload=payload or False,
                    with_vectors=vectors or False,
                )
            yield page
            if after is None:
                return


def payload_in(point: models.Record) -> dict[str, Any]:
    """Return what a point has besides its vectors."""
    return point.payload or {}


def vectors_in(point: models.Record) -> Mapping[str, Any]:
    """Return the vectors of a point by their names, as they were sent."""
    return point.vector if isinstance(point.vector, dict) else {}


def _ranking(points: Sequence[models.ScoredPoint], depth: int) -> Ranking:
    """Name what was found and put equals in the order of their ids."""
    named = [((point.payload or {})["id"], point.score) for point in points]
    return sorted(named, key=lambda one: (-one[1], one[0]))[:depth]
