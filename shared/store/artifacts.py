"""The artifacts of a library: large results, stored in GridFS's form and downloaded as one file.

An artifact is a list of segments, each a stored file or a few bytes, so that parts that were written side by side are
served one after the other without a second copy. Chunks carry the artifact's expiry themselves: a TTL index takes them
away with it, whoever runs.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, Any, cast

from bson.binary import Binary
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from shared.clock import new_id, now
from shared.errors import ArtifactNotFound, ServiceUnavailable
from shared.model import Db, Json, Record

COLLECTION = "artifacts"
FILES = "artifacts.files"
CHUNKS = "artifacts.chunks"
CHUNK_BYTES = 1 << 20
CHUNKS_READ = 4  # chunks that are in memory at a time


class Segment(Record):
    """A part of an artifact: a stored file, or some bytes that stand here."""

    file: str | None = None
    data: bytes = b""
    size: int  # bytes


class Artifact(Record):
    """A large result that can be downloaded."""

    id: str = Field(alias="_id")
    job_id: str  # the job that made it
    name: str  # what it is of: a collection's name, or `metadata`
    filename: str
    content_type: str
    segments: tuple[Segment, ...]
    size: int  # bytes
    sha256: str  # of all of them
    rows: int | None = None
    created_at: datetime
    expires_at: datetime


class StoredFile(Record):
    """A file in GridFS's form."""

    id: str = Field(alias="_id")
    length: int
    chunk_size: int
    upload_date: datetime
    filename: str
    sha256: str
    metadata: Json
    expires_at: datetime


def ensure_indexes(library: Db) -> None:
    """Create the indexes of these collections."""
    expiry = IndexModel("expiresAt", expireAfterSeconds=0)
    library[COLLECTION].create_indexes([IndexModel([("jobId", ASCENDING), ("name", ASCENDING)]), expiry])
    library[FILES].create_indexes([IndexModel([("filename", ASCENDING), ("uploadDate", DESCENDING)]), expiry])
    library[CHUNKS].create_indexes([IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True), expiry])


def artifact_id(job_id: str, name: str) -> str:
    """Return the id of what a job makes under a name: a repeat of its work finds it."""
    return f"art_{hashlib.sha256(f'{job_id}/{name}'.encode()).hexdigest()[:28]}"


# Artifacts


def save(library: Db, artifact: Artifact) -> None:
    """Store an artifact, in place of an earlier one under its id."""
    library[COLLECTION].replace_one({"_id": artifact.id}, artifact.to_document(), upsert=True)


def find(library: Db, artifact_id: str) -> Artifact | None:
    """Return an artifact that has not expired, or None."""
    document = library[COLLECTION].find_one({"_id": artifact_id})
    # A TTL index takes its time.
    return Artifact.from_document(document) if document and document["expiresAt"] > now() else None


def get(library: Db, artifact_id: str) -> Artifact:
    """Return an artifact. Raises `ArtifactNotFound`."""
    found = find(library, artifact_id)
    if found is None:
        raise ArtifactNotFound(f"There is no artifact {artifact_id!r}.")
    return found


def find_of_job(library: Db, job_id: str) -> list[Artifact]:
    """Return what a job has made, by name."""
    found = library[COLLECTION].find({"jobId": job_id})
    return sorted((Artifact.from_document(document) for document in found), key=lambda artifact: artifact.name)


def stream(library: Db, artifact: Artifact, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes [start, stop) of an artifact. Raises `ServiceUnavailable` where they went away meanwhile."""
    begin = 0
    for segment in artifact.segments:
        first, last = max(start - begin, 0), min(stop - begin, segment.size)
        begin += segment.size
        if first >= last:
            continue
        if segment.file is None:
            yield segment.data[first:last]
        else:
            yield from read(library, segment.file, first, last)


# Files


def read(library: Db, file_id: str, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes [start, stop) of a stored file. Raises `ServiceUnavailable` where some are not there."""
    for first in range(start // CHUNK_BYTES, -(-stop // CHUNK_BYTES), CHUNKS_READ):
        query = {"files_id": file_id, "n": {"$gte": first, "$lt": first + CHUNKS_READ}}
        found = sorted(library[CHUNKS].find(query, {"n": 1, "data": 1}), key=lambda chunk: chunk["n"])
        for n, chunk in enumerate(found, start=first):
            at = n * CHUNK_BYTES
            if at >= stop:
                return
            if chunk["n"] != n:
                break
            yield bytes(chunk["data"])[max(start - at, 0) : stop - at]
        if len(found) < min(CHUNKS_READ, -(-stop // CHUNK_BYTES) - first):
            raise ServiceUnavailable(f"Parts of {file_id} are gone: it has expired.")


def find_file(library: Db, file_id: str) -> StoredFile | None:
    """Return what is known of a stored file, or None."""
    document = library[FILES].find_one({"_id": file_id})
    return StoredFile.from_document(document) if document else None


def delete_files(library: Db, file_ids: Sequence[str]) -> None:
    """Delete stored files; what is left of them without a name is taken away when it expires."""
    for file_id in file_ids:
        library[FILES].delete_one({"_id": file_id})
        library[CHUNKS].delete_many({"files_id": file_id})


class Writer(io.RawIOBase):
    """Writes one file, a chunk at a time, under an id that no other attempt has; it exists once it is kept."""

    def __init__(self, library: Db, name: str, expires_at: datetime) -> None:
        """Prepare to write; nothing is sent before there is a whole chunk."""
        super().__init__()
        self.file_id = new_id("file")
        self.size = 0
        self._library = library
        self._name = name
        self._expires_at = expires_at
        self._buffer = bytearray()
        self._n = 0
        self._hash = hashlib.sha256()

    @property
    def stream(self) -> IO[bytes]:
        """The writer itself, as what it is for those who write."""
        return cast(IO[bytes], self)

    @property
    def sha256(self) -> str:
        """The hash of what was written so far."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def write(self, data: Any) -> int:
        """Take in some bytes."""
        with memoryview(data) as view:
            taken = view.cast("B") if view.nbytes else b""
            self._buffer += taken
            self._hash.update(taken)
            self.size += len(taken)
            count = len(taken)
        while len(self._buffer) >= CHUNK_BYTES:
            self._send(bytes(self._buffer[:CHUNK_BYTES]))
            del self._buffer[:CHUNK_BYTES]
        return count

    def _send(self, data: bytes) -> None:
        chunk = {"files_id": self.file_id, "n": self._n, "data": Binary(data), "expiresAt": self._expires_at}
        self._library[CHUNKS].insert_one(chunk)
        self._n += 1

    def keep(self, metadata: Mapping[str, Any]) -> StoredFile:
        """Write what is left, and let the file exist."""
        if self._buffer:
            self._send(bytes(self._buffer))
            self._buffer.clear()
        stored = StoredFile(
            id=self.file_id,
            length=self.size,
            chunk_size=CHUNK_BYTES,
            upload_date=now(),
            filename=self._name,
            sha256=self.sha256,
            metadata=dict(metadata),
            expires_at=self._expires_at,
        )
        self._library[FILES].insert_one(stored.to_document())
        return stored
