"""The `catalogue` collection: what can be looked for, one document per entry, under names that clients know."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import Field, ValidationError
from pymongo import ASCENDING, IndexModel, UpdateOne

from shared.batches import in_batches
from shared.catalogue_ids import page_of
from shared.clock import now
from shared.model import Db, Json, Record
from shared.store.transactions import as_one

logger = logging.getLogger(__name__)

COLLECTION = "catalogue"
MANY = 10_000
"""Above so many ids a query for them is not better than one for all."""


CURSOR_BATCH = 1000


class Change(StrEnum):
    """What an import did to a document."""

    NEW = "new"
    CHANGED = "changed"
    REVIVED = "revived"
    REMOVED = "removed"


class LastChange(Record):
    """Which job changed a document last, and how."""

    job_id: str
    what: Change


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
    primary_source: str | None = None  # by which the next release finds it
    ids: dict[str, str] = Field(default_factory=dict)  # myanimelist, anilist, kitsu, anidb
    related: tuple[str, ...] = ()
    quality: float = 0.0  # how complete it is, 0 to 1
    content_hash: str = ""  # of what is said about it
    seen_in: str | None = None  # the job that met it last
    last_change: LastChange | None = None
    created_at: datetime
    updated_at: datetime  # of the last change of what is said about it, or of whether it is there
    removed_at: datetime | None = None  # gone from its feed since then


class Known(Record):
    """As much of a document as an import has to know."""

    id: str = Field(alias="_id")
    catalogue: str
    primary_source: str | None = None
    content_hash: str = ""
    sources: tuple[str, ...] = ()
    seen_in: str | None = None
    spared_in: str | None = None  # the job that had an entry for it that it could not use
    last_change: LastChange | None = None
    created_at: datetime
    removed_at: datetime | None = None

    def was(self, change: Change, job_id: str) -> bool:
        """Whether this is what a job did to the document."""
        return self.last_change == LastChange(job_id=job_id, what=change)


KNOWN = {str(field.alias): 1 for field in Known.model_fields.values()}


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel("sources"),
            IndexModel("updatedAt"),
            IndexModel("trackId", sparse=True),
            IndexModel([("catalogue", ASCENDING), ("seenIn", ASCENDING)]),
            IndexModel([("catalogue", ASCENDING), ("primarySource", ASCENDING)]),
        ]
    )


def iterate_ids(db: Db, *, since: datetime | None = None, after: str | None = None) -> Iterator[str]:
    """Yield the ids of what is there, or of all that has changed since, gone or not, in their order behind one.

    Whatever is no text is no id of ours.
    """
    query: Json = {"removedAt": None} if since is None else {"updatedAt": {"$gte": since}}
    if since is None and after is not None:
        query["_id"] = {"$gt": after}
    for document in db[COLLECTION].find(query, {"_id": 1}).sort("_id", ASCENDING):
        item_id = document["_id"]
        if isinstance(item_id, str) and (after is None or item_id > after):
            yield item_id


def find_many(db: Db, ids: Sequence[str]) -> dict[str, CatalogueEntry]:
    """Return entries by their ids, as far as they exist, and are what they should be."""
    return {entry.id: entry for entry in _readable(db[COLLECTION].find({"_id": {"$in": list(ids)}}))}


def _readable(documents: Iterable[Json]) -> Iterator[CatalogueEntry]:
    """Yield the entries in documents; one that somebody else has put in may be none, and is passed over."""
    for document in documents:
        try:
            yield CatalogueEntry.from_document(document)
        except ValidationError as error:
            logger.warning("%r is no entry of a catalogue: %s", document["_id"], error.errors()[0]["msg"])


def find_removed(db: Db, ids: Sequence[str]) -> set[str]:
    """Return those of some ids whose entries are gone from their feed."""
    found = db[COLLECTION].find({"_id": {"$in": list(ids)}}, {"removedAt": 1})
    return {document["_id"] for document in found if document.get("removedAt") is not None}


def find_living(db: Db, ids: Iterable[str]) -> dict[str, str]:
    """Return by id the entry that it stands for now, as far as there is one.

    That is the entry of this id. Where it is gone, or never was, it is the one that has its page by now: two entries
    may have become one, and a client may know an entry by another site's id than we do.
    """
    living: dict[str, str] = {}
    for some in in_batches(dict.fromkeys(ids), CURSOR_BATCH):
        pages = _pages(db, some)
        holders = _holders(db, {page for own in pages.values() for page in own})
        for one in some:
            held = next((holders[page] for page in pages.get(one, ()) if page in holders), None)
            if one not in pages:
                living[one] = one
            elif held is not None:
                living[one] = held
    return living


def _pages(db: Db, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return, of those ids that no entry has which is there, the pages by which another may be known."""
    found = db[COLLECTION].find({"_id": {"$in": list(ids)}}, {"removedAt": 1, "sources": 1})
    known = {document["_id"]: document for document in found}
    gone = [one for one in ids if one not in known or known[one].get("removedAt") is not None]
    return {one: [*filter(None, [page_of(one)]), *_sources(known.get(one, {}))] for one in gone}


def _holders(db: Db, pages: Collection[str]) -> dict[str, str]:
    """Return which entry that is there has each of these pages, the first by id where there are several."""
    found = db[COLLECTION].find({"sources": {"$in": list(pages)}}, {"removedAt": 1, "sources": 1}) if pages else ()
    holders: dict[str, str] = {}
    for document in sorted(found, key=lambda one: str(one["_id"])):
        if document.get("removedAt") is None and isinstance(document["_id"], str):
            for page in _sources(document):
                holders.setdefault(page, document["_id"])
    return holders


def _sources(document: Json) -> list[str]:
    """Return the pages in a document; one that somebody else has put in may hold anything there."""
    value = document.get("sources")
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def find_by_track_ids(db: Db, track_ids: Sequence[str]) -> dict[str, CatalogueEntry]:
    """Return what is known of tracks, by their ids in `audio_features`."""
    found = _readable(db[COLLECTION].find({"trackId": {"$in": list(track_ids)}}))
    return {entry.track_id: entry for entry in found if entry.track_id and entry.removed_at is None}


def has_changed_tracks(db: Db, since: datetime) -> bool:
    """Tell whether something else is said of any track since then."""
    return any(True for _ in _changed_track_ids(db, since))


def find_changed_track_ids(db: Db, since: datetime) -> set[str]:
    """Return the tracks of which something else is said since then."""
    return set(_changed_track_ids(db, since))


def _changed_track_ids(db: Db, since: datetime) -> Iterator[str]:
    found = db[COLLECTION].find({"updatedAt": {"$gte": since}}, {"trackId": 1})
    return (document["trackId"] for document in found if isinstance(document.get("trackId"), str))


# For imports


def find_by_primary(db: Db, catalogue: str, sources: Iterable[str]) -> list[Known]:
    """Return the documents of a catalogue whose primary source is one of these."""
    query = {"catalogue": catalogue, "primarySource": {"$in": list(sources)}}
    return [Known.from_document(document) for document in db[COLLECTION].find(query, KNOWN)]


def find_known(db: Db, item_ids: Iterable[str]) -> dict[str, Known]:
    """Return by id what is known of these documents."""
    found = db[COLLECTION].find({"_id": {"$in": list(item_ids)}}, KNOWN)
    return {document["_id"]: Known.from_document(document) for document in found}


def find_sharing(db: Db, catalogue: str, sources: Iterable[str]) -> list[Known]:
    """Return the documents of a catalogue that have any of these sources."""
    found = db[COLLECTION].find({"sources": {"$in": list(sources)}}, KNOWN)
    return [Known.from_document(document) for document in found if document["catalogue"] == catalogue]


def write(db: Db, entries: Sequence[CatalogueEntry]) -> None:
    """Store entries under their ids, in one transaction where the server has them: that spares a sync for each.

    A repeat changes nothing; when a document was made stays.
    """
    operations = []
    for entry in entries:
        document = entry.to_document()
        created_at = document.pop("createdAt")
        key = {"_id": document.pop("_id")}
        operations.append(UpdateOne(key, {"$set": document, "$setOnInsert": {"createdAt": created_at}}, upsert=True))
    if operations:
        as_one(db, lambda session: db[COLLECTION].bulk_write(operations, ordered=False, session=session))


def mark_seen(db: Db, item_ids: Sequence[str], job_id: str) -> None:
    """Note that a release still has these entries as they are."""
    if item_ids:
        db[COLLECTION].update_many({"_id": {"$in": list(item_ids)}}, {"$set": {"seenIn": job_id}})


def spare(db: Db, catalogue: str, sources: Sequence[str], job_id: str) -> None:
    """Note that a release has something of these sources that can't be used: what has them is left as it is."""
    ids = [known.id for known in find_sharing(db, catalogue, sources)]
    if ids:
        db[COLLECTION].update_many({"_id": {"$in": ids}}, {"$set": {"sparedIn": job_id}})


def count_seen(db: Db, catalogue: str, job_id: str) -> int:
    """Return how many documents of a catalogue a job has seen."""
    return db[COLLECTION].count_documents({"catalogue": catalogue, "seenIn": job_id})


def iterate_unseen(db: Db, catalogue: str, job_id: str) -> Iterator[Known]:
    """Yield the documents of a catalogue that a job has not seen, in the order of their ids."""
    sides = ({"$lt": job_id}, {"$gt": job_id})  # two ranges of an index, where "not equal" would scan
    found = (
        db[COLLECTION]
        .find({"catalogue": catalogue, "seenIn": side}, KNOWN, batch_size=CURSOR_BATCH)
        .sort("_id", ASCENDING)
        .allow_disk_use(True)
        for side in sides
    )
    for document in heapq.merge(*found, key=lambda one: str(one["_id"])):
        yield Known.from_document(document)


def remove(db: Db, item_ids: Sequence[str], job_id: str) -> None:
    """Note that these entries are gone from their catalogue; their documents stay."""
    if item_ids:
        moment = now()
        change = LastChange(job_id=job_id, what=Change.REMOVED).to_document()
        changes: Json = {"removedAt": moment, "updatedAt": moment, "lastChange": change}
        db[COLLECTION].update_many({"_id": {"$in": list(item_ids)}}, {"$set": changes})


def delete(db: Db, item_ids: Sequence[str]) -> None:
    """Delete documents whose content others have taken over."""
    if item_ids:
        db[COLLECTION].delete_many({"_id": {"$in": list(item_ids)}})
