"""The `analyses` collection of a library: answers that took long, kept while what they count stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import DESCENDING, IndexModel

from shared.clock import now
from shared.model import Db, Json, Record

COLLECTION = "analyses"
KEPT = timedelta(hours=3)
"""Longer than the hour to which the end of a timeframe is rounded, for those who read a job a little later."""
CHANGES = {
    "audio_features": "updatedAt",
    "listening_history": "playedAt",
    "ratings": "updatedAt",
    "recommendations": "createdAt",
}
"""The field that tells what is new in a collection."""


class StoredAnalysis(Record):
    """An analysis as it was when the marker was so."""

    id: str = Field(alias="_id")
    marker: str
    body: Json
    created_at: datetime
    expires_at: datetime


def ensure_indexes(library: Db) -> None:
    """Create the indexes of this collection."""
    library[COLLECTION].create_indexes([IndexModel("expiresAt", expireAfterSeconds=0)])


def marker(library: Db, collections: Sequence[str]) -> str:
    """Return what is different once documents were added, removed or (where they say so) changed.

    That is the number of documents and the newest moment of each collection: both are known without counting. What is
    not noticed is a document that was changed without saying so, or one that was replaced by one of an older moment.
    """
    return "; ".join(_marker(library, name) for name in collections)


def _marker(library: Db, name: str) -> str:
    field = CHANGES[name]
    newest = next(iter(library[name].find({}, {field: 1}).sort(field, DESCENDING).limit(1)), {})
    return f"{name} {library[name].estimated_document_count()} {newest.get(field)}"


def save(library: Db, analysis_id: str, marker: str, body: Json, *, kept: timedelta = KEPT) -> None:
    """Keep an answer."""
    moment = now()
    stored = StoredAnalysis(id=analysis_id, marker=marker, body=body, created_at=moment, expires_at=moment + kept)
    library[COLLECTION].replace_one({"_id": analysis_id}, stored.to_document(), upsert=True)


def find(library: Db, analysis_id: str) -> StoredAnalysis | None:
    """Return an answer that is kept, or None."""
    document = library[COLLECTION].find_one({"_id": analysis_id})
    return StoredAnalysis.from_document(document) if document and document["expiresAt"] > now() else None
