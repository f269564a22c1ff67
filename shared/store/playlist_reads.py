"""The `playlist_reads` collection: playlists as jobs have read them, page by page, for as long as the jobs are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from shared.model import Db, Record

COLLECTION = "playlist_reads"


class PlaylistTrack(Record):
    """One place of a playlist."""

    id: str
    title: str = ""
    artists: tuple[str, ...] = ()
    duration_ms: int | None = None
    popularity: int | None = None  # 0 to 100


class PlaylistRead(Record):
    """What was read of a playlist so far."""

    id: str = Field(alias="_id")  # the job that reads it
    playlist_id: str
    name: str | None = None
    owner_name: str | None = None
    tracks: tuple[PlaylistTrack, ...] = ()
    skipped: int = 0  # places that hold no track of Spotify's: episodes, files of the user's, what is gone
    next_offset: int | None = 0  # None when the whole is read
    degraded: bool = False  # nobody could be asked what it is called
    stale: bool = False  # some of it is an older answer, for Spotify did not give a fresh one
    expires_at: datetime


def ensure_indexes(library: Db) -> None:
    """Create the indexes of this collection."""
    # Compare-and-set by id and place, for servers that use an index only if it covers the whole filter.
    by_place = IndexModel([("_id", ASCENDING), ("nextOffset", ASCENDING)])
    library[COLLECTION].create_indexes([by_place, IndexModel("expiresAt", expireAfterSeconds=0)])


def find(library: Db, job_id: str) -> PlaylistRead | None:
    """Return what a job has read, or None."""
    document = library[COLLECTION].find_one({"_id": job_id})
    return PlaylistRead.from_document(document) if document else None


def begin(library: Db, read: PlaylistRead) -> None:
    """Store the beginning, in place of an earlier one."""
    library[COLLECTION].replace_one({"_id": read.id}, read.to_document(), upsert=True)


def add_page(
    library: Db,
    read: PlaylistRead,
    tracks: Sequence[PlaylistTrack],
    *,
    skipped: int,
    next_offset: int | None,
    stale: bool,
) -> bool:
    """Append a page; False where somebody else has done so."""
    change = {
        "$push": {"tracks": {"$each": [one.to_document() for one in tracks]}},
        "$inc": {"skipped": skipped},
        "$set": {"nextOffset": next_offset, **({"stale": True} if stale else {})},
    }
    query = {"_id": read.id, "nextOffset": read.next_offset}
    return library[COLLECTION].update_one(query, change).modified_count == 1
