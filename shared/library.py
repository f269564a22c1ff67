"""What an owner's library holds: the collections that others may export and import, and the form of their documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Id = Annotated[str, Field(min_length=1, max_length=256)]
Share = Annotated[float | None, Field(ge=0, le=1)]


class Document(BaseModel):
    """The least that a document must have; whatever else it holds stays as it is."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True, validate_by_alias=True)


class User(Document):
    """A user of the owner's."""

    user_id: Id
    created_at: datetime


class AudioFeatures(Document):
    """The features of one user's track, in Spotify's names and ranges."""

    user_id: Id
    track_id: Id
    danceability: Share = None
    energy: Share = None
    key: Annotated[int | None, Field(ge=-1, le=11)] = None
    loudness: float | None = None
    mode: Annotated[int | None, Field(ge=0, le=1)] = None
    speechiness: Share = None
    acousticness: Share = None
    instrumentalness: Share = None
    liveness: Share = None
    valence: Share = None
    tempo: Annotated[float | None, Field(ge=0, le=300)] = None
    created_at: datetime
    updated_at: datetime | None = None


class Play(Document):
    """One time that a user played a track."""

    user_id: Id
    track_id: Id
    played_at: datetime


class Recommendation(Document):
    """A track that was recommended to a user."""

    user_id: Id
    track_id: Id
    score: float
    created_at: datetime


class Rating(Document):
    """What a user thinks of an item, or where it is on their list."""

    user_id: Id
    item_id: Id
    score: Annotated[float | None, Field(ge=0, le=10)] = None
    status: str | None = None
    updated_at: datetime | None = None


class Cluster(Document):
    """A group of entries of an index that are alike."""

    id: Id = Field(alias="_id")
    index: str
    job_id: Id
    number: Annotated[int, Field(ge=1)]
    created_at: datetime


class Entry(Document):
    """An entry of a catalogue."""

    id: Id = Field(alias="_id")
    title: str


@dataclass(frozen=True, kw_only=True)
class LibraryCollection:
    """A collection of a library."""

    name: str
    key: tuple[str, ...]  # the fields by which a document is found again
    document: type[Document]
    is_public: bool = False  # its ids say nothing of anybody

    @property
    def moments(self) -> frozenset[str]:
        """The fields that hold a moment."""
        fields = self.document.model_fields.values()
        return frozenset(str(field.alias) for field in fields if datetime in (field.annotation, *_args(field)))


def _args(field: Any) -> tuple[Any, ...]:
    return getattr(field.annotation, "__args__", ())


COLLECTIONS: Mapping[str, LibraryCollection] = {
    one.name: one
    for one in (
        LibraryCollection(name="users", key=("userId",), document=User),
        LibraryCollection(name="audio_features", key=("userId", "trackId"), document=AudioFeatures),
        LibraryCollection(name="listening_history", key=("userId", "trackId", "playedAt"), document=Play),
        LibraryCollection(name="recommendations", key=("userId", "trackId", "createdAt"), document=Recommendation),
        LibraryCollection(name="ratings", key=("userId", "itemId"), document=Rating),
        LibraryCollection(name="clusters", key=("_id",), document=Cluster),
        LibraryCollection(name="catalogue", key=("_id",), document=Entry, is_public=True),
    )
}


def checked_collection(name: str) -> str:
    """Return the name of a collection of libraries. Raises `ValueError`."""
    if name not in COLLECTIONS:
        raise ValueError(f"is no collection of a library: those are {', '.join(COLLECTIONS)}")
    return name
