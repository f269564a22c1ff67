"""The `audio_files` collection: which content was last found in a file, so that an unchanged file is not decoded."""

from __future__ import annotations

from pydantic import Field

from shared.clock import now
from shared.model import Db, Record

COLLECTION = "audio_files"


class FileError(Record):
    """Why a file could not be decoded, remembered so that a bad file never loops."""

    code: str
    message: str


class AudioFile(Record):
    """What was found in a file when it had this size and time."""

    path: str = Field(alias="_id")
    size: int  # bytes
    mtime_ns: int
    decoder: str  # the decoding library and version that looked
    content_hash: str | None = None
    error: FileError | None = None


def ensure_indexes(db: Db) -> None:
    """Nothing to create: files are looked up by their path alone."""


def find(db: Db, path: str) -> AudioFile | None:
    """Return what is known of the file at this path, or None."""
    document = db[COLLECTION].find_one({"_id": path})
    return AudioFile.from_document(document) if document else None


def save(db: Db, file: AudioFile) -> None:
    """Remember what was found in a file."""
    document = {**file.to_document(), "seenAt": now()}
    db[COLLECTION].replace_one({"_id": file.path}, document, upsert=True)
