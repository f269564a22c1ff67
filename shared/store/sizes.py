"""How much the collections of a database hold, by the server's own figures."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo.errors import OperationFailure

from shared.model import Db


@dataclass(frozen=True, kw_only=True)
class CollectionSize:
    """The figures of one collection."""

    documents: int = 0
    size: int = 0  # bytes of all documents, uncompressed
    average: int = 0  # bytes of a document
    indexes: int = 0  # how many there are
    index_size: int = 0  # bytes of all indexes


def of_collection(db: Db, name: str) -> CollectionSize:
    """Return the figures of a collection, nothing but zeros for one that does not exist."""
    try:
        stats = db.command("collStats", name)
    except OperationFailure:
        return CollectionSize()
    return CollectionSize(
        documents=int(stats.get("count", 0)),
        size=int(stats.get("size", 0)),
        average=int(stats.get("avgObjSize", 0)),
        indexes=int(stats.get("nindexes", 0)),
        index_size=int(stats.get("totalIndexSize", 0)),
    )
