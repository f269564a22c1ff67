"""The `audio_files` collection: which content was last found in a file, so that an unchanged file is not decoded."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from pymongo import ASCENDING, IndexModel

from shared.clock import now
from shared.model import Db, Record

COLLECTION = "audio_files"


class FileError(Record):
    """Why a file could not be decoded, remembered so that a bad file never loops."""

    code: str
    message: str


class FileTags(Record):
    """What a file says of itself, in the forms in which others are compared with it."""

    title_key: str | None = None
    artist_key: str | None = None
    isrc: str | None = None
    recording_id: str | None = None  # MusicBrainz'
    seconds: float | None = None


class AudioFile(Record):
    """What was found in a file when it had this size and time."""

    path: str = Field(alias="_id")
    size: int  # bytes
    mtime_ns: int
    decoder: str  # the decoding library and version that looked
    content_hash: str | None = None
    error: FileError | None = None
    tags: FileTags | None = None


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes(
        [
            IndexModel("tags.isrc", sparse=True),
            IndexModel("tags.recordingId", sparse=True),
            IndexModel([("tags.titleKey", ASCENDING), ("tags.artistKey", ASCENDING)], sparse=True),
        ]
    )


def find_by_tag(db: Db, tag: str, values: Sequence[str]) -> list[AudioFile]:
    """Return the files with content that bear one of these values of a tag: isrc, recordingId or titleKey."""
    found = db[COLLECTION].find({f"tags.{tag}": {"$in": list(values)}})
    return [file for document in found if (file := AudioFile.from_document(document)).content_hash is not None]


def have_tags(db: Db) -> bool:
    """Whether any file is known by its tags."""
    return any(
        db[COLLECTION].find_one({f"tags.{tag}": {"$gt": ""}}, {"_id": 1}) for tag in ("isrc", "recordingId", "titleKey")
    )


def find(db: Db, path: str) -> AudioFile | None:
    """Return what is known of the file at this path, or None."""
    document = db[COLLECTION].find_one({"_id": path})
    return AudioFile.from_document(document) if document else None


def save(db: Db, file: AudioFile) -> None:
    """Remember what was found in a file."""
    document = {**file.to_document(), "seenAt": now()}
    db[COLLECTION].replace_one({"_id": file.path}, document, upsert=True)
