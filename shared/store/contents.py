"""The `audio_contents` collection: features by decoded content, shared by every user that has the same audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bson.binary import Binary, BinaryVectorDtype
from pydantic import ConfigDict, Field
from pymongo import IndexModel

from shared.clock import now
from shared.model import Db, Json, Record
from shared.store.bson_vectors import to_floats

COLLECTION = "audio_contents"


class Features(Record):
    """Spotify's names and ranges; null where a value can't be known, with the reason beside it."""

    model_config = ConfigDict(alias_generator=None)

    danceability: float | None = Field(default=None, ge=0, le=1)
    energy: float | None = Field(default=None, ge=0, le=1)
    key: int | None = Field(default=None, ge=0, le=11, description="Pitch class, C = 0")
    loudness: float | None = Field(default=None, description="Integrated loudness in LUFS (ITU-R BS.1770-4)")
    mode: int | None = Field(default=None, ge=0, le=1, description="1 major, 0 minor")
    speechiness: float | None = Field(default=None, ge=0, le=1)
    acousticness: float | None = Field(default=None, ge=0, le=1)
    instrumentalness: float | None = Field(default=None, ge=0, le=1)
    liveness: float | None = Field(default=None, ge=0, le=1)
    valence: float | None = Field(default=None, ge=0, le=1)
    tempo: float | None = Field(default=None, ge=0, description="Beats per minute")
    time_signature: int | None = Field(default=None, ge=2, le=7, description="Beats in a bar")
    duration_ms: int = Field(default=0, ge=0)


class ModelUse(Record):
    """A trained model that took part, and the features that it shaped."""

    algorithm: str
    version: str
    features: tuple[str, ...]


class Provenance(Record):
    """Where features came from."""

    provider: str = "local"
    algorithm: str
    version: str
    effort: str  # quick, standard or full: what was done
    decoder: str
    window_seconds: float  # how much of the track was analysed
    models: tuple[ModelUse, ...] = ()


class Content(Record):
    """The features of one piece of audio under one version of the extractor."""

    id: str = Field(alias="_id")  # content hash : extractor version and effort
    content_hash: str  # BLAKE3 of the decoded PCM
    features: Features
    extra: dict[str, float | int | None] = Field(default_factory=dict)  # tempoAlternative, loudnessRange, truePeak
    confidence: dict[str, float] = Field(default_factory=dict)  # feature -> 0..1
    reasons: dict[str, str] = Field(default_factory=dict)  # feature -> why it is null
    tags: dict[str, float] = Field(default_factory=dict)  # what a tagging model hears -> 0..1, the clearest first
    warnings: tuple[str, ...] = ()
    provenance: Provenance

    @property
    def version(self) -> str:
        """Return the version and effort under which it stands."""
        return self.id.partition(":")[2]


def content_id(content_hash: str, version: str) -> str:
    """Return the key under which a content's features of an extractor version stand."""
    return f"{content_hash}:{version}"


def ensure_indexes(db: Db) -> None:
    """Create the indexes of this collection."""
    db[COLLECTION].create_indexes([IndexModel("contentHash")])


ARRAYS = ("vector", "embedding", "beats", "tempoCurve")
"""Arrays beside the record: the similarity vector, the tagging model's embedding, beat times in seconds, and the tempo
in beats a minute each 5 s from the first beat on; what is empty is left out."""


def find(db: Db, content_hash: str, versions: Sequence[str]) -> Content | None:
    """Return the features of this content by the first of these versions that has analysed it, or None."""
    for version in versions:
        query = {"_id": content_id(content_hash, version)}
        document = db[COLLECTION].find_one(query, dict.fromkeys(ARRAYS, 0))
        if document:
            return Content.from_document(document)
    return None


def find_latest(db: Db, content_hash: str) -> Content | None:
    """Return the features of this content that were made last, by whichever version, or None."""
    found = list(db[COLLECTION].find({"contentHash": content_hash}, dict.fromkeys(ARRAYS, 0)))
    return Content.from_document(max(found, key=lambda one: one["createdAt"])) if found else None


def find_vectors(db: Db, ids: Sequence[str]) -> dict[str, bytes]:
    """Return the similarity vectors of contents by their ids, as little-endian 32-bit floats, where there are any."""
    found = db[COLLECTION].find({"_id": {"$in": list(ids)}}, {"vector": 1})
    return {document["_id"]: to_floats(document["vector"]) for document in found if document.get("vector")}


def save(db: Db, content: Content, arrays: Mapping[str, Sequence[float]]) -> None:
    """Store the features of a content, and its arrays (by a name of `ARRAYS`) as BSON vectors of 32-bit floats."""
    packed = {name: Binary.from_vector(list(values), BinaryVectorDtype.FLOAT32) for name, values in arrays.items()}
    document: Json = {**content.to_document(), **packed, "createdAt": now()}
    db[COLLECTION].replace_one({"_id": content.id}, document, upsert=True)
