"""The `embeddings` collection: vectors of texts, by text and model, so that nothing is embedded twice, whoever asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pymongo.errors import BulkWriteError

from shared.clock import now
from shared.model import Db, Json
from shared.store.bson_vectors import from_floats, to_floats

COLLECTION = "embeddings"
DUPLICATE_KEY = 11000


def text_id(text: str, embedder: str) -> str:
    """Return the key under which the vector of a text, made by the model of that id, stands."""
    return f"{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}:{embedder}"


def ensure_indexes(db: Db) -> None:
    """Nothing to create: vectors are looked up by their keys alone."""


def find_known(db: Db, ids: Sequence[str]) -> set[str]:
    """Return which of these keys have a vector."""
    return {document["_id"] for document in db[COLLECTION].find({"_id": {"$in": list(ids)}}, {"_id": 1})}


def find_vectors(db: Db, ids: Sequence[str]) -> dict[str, bytes]:
    """Return the vectors under these keys, as little-endian 32-bit floats, as far as there are any."""
    found = db[COLLECTION].find({"_id": {"$in": list(ids)}}, {"vector": 1})
    return {document["_id"]: to_floats(document["vector"]) for document in found}


def save(db: Db, vectors: Mapping[str, bytes]) -> None:
    """Store vectors, given as little-endian 32-bit floats, by their keys; one that is there already stays."""
    moment = now()
    documents: list[Json] = [
        {"_id": key, "vector": from_floats(floats), "createdAt": moment} for key, floats in vectors.items()
    ]
    try:
        if documents:
            db[COLLECTION].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(one["code"] != DUPLICATE_KEY for one in error.details["writeErrors"]):
            raise
