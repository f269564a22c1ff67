"""The `catalogue` collection: what can be looked for, one document per entry, under names that clients know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from shared.model import Db, Json, Record

COLLECTION = "catalogue"
MANY = 10_000
"""Above so many ids a query for them is not better than one for all."""


class CatalogueEntry(Record):
    """One title or track, whichever release it came with."""

    id: str = Field(alias="_id")  # mal-1, anilist-5, track-4uLU6h...: kept over releases
    catalogue: str  # the feed that it belongs to
    form: str  # anime or track
    title: str
    type: str | None = None
    episodes: int | None = None
    status: str | None = None
    season: str | None = None
    year: int | None = None
    picture: str | None = None
    thumbnail: str | None = None
    duration_seconds: float | None = None
    synonyms: tuple[str, ...] = ()
    studios: tuple[str, ...] = ()
    producers: tuple[str, ...] = ()
    artists: tuple[str, ...] = ()
    album: str | None = None
    tags: tuple[str, ...] = ()
    score: float | None = None  # 0 to 10
    track_id: str | None = None  # under which `audio_features` knows it
    isrc: str | None = None
    sources: tuple[str, ...] = ()
    primary_source: str | None = None  # the one that its id was made of
    ids: dict[str, str] = Field(default_factory=dict)  # myanimelist, anilist, kitsu, anidb
    related: tuple[str, ...] = ()
    quality: float = 0.0  # how complete it is, 0 to 1
    content_hash: str = ""  # of what is said about it
    seen_in: str | None = None  # the job that met it last
    created_at: datetime
    updated_at: datetime  # of the last change of what is said about it, or of whether it is there
    removed_at: datetime | None = None  # gone from its feed since then


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel("sources"),
            IndexModel("updatedAt"),
            IndexModel("trackId", sparse=True),
            IndexModel([("catalogue", ASCENDING), ("seenIn", ASCENDING)]),
        ]
    )


def iterate_ids(db: Db, *, since: datetime | None = None, after: str | None = None) -> Iterator[str]:
    """Yield the ids of what is there, or of all that has changed since, gone or not, in their order behind one."""
    query: Json = {"removedAt": None} if since is None else {"updatedAt": {"$gte": since}}
    if since is None and after is not None:
        query["_id"] = {"$gt": after}
    for document in db[COLLECTION].find(query, {"_id": 1}).sort("_id", ASCENDING):
        if after is None or document["_id"] > after:
            yield document["_id"]


def find_many(db: Db, ids: Sequence[str]) -> dict[str, CatalogueEntry]:
    """Return entries by their ids, as far as they exist."""
    found = db[COLLECTION].find({"_id": {"$in": list(ids)}})
    return {document["_id"]: CatalogueEntry.from_document(document) for document in found}


def find_by_track_ids(db: Db, track_ids: Sequence[str]) -> dict[str, CatalogueEntry]:
    """Return what is known of tracks, by their ids in `audio_features`."""
    found = db[COLLECTION].find({"trackId": {"$in": list(track_ids)}})
    entries = (CatalogueEntry.from_document(document) for document in found)
    return {entry.track_id: entry for entry in entries if entry.track_id and entry.removed_at is None}


def find_changed_track_ids(db: Db, since: datetime) -> set[str]:
    """Return the tracks of which something else is said since then."""
    found = db[COLLECTION].find({"updatedAt": {"$gte": since}}, {"trackId": 1})
    return {document["trackId"] for document in found if document.get("trackId")}


def count_living(db: Db) -> int:
    """Return how many entries are there."""
    return int(db.command("count", COLLECTION, query={"removedAt": None})["n"])
