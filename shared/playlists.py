"""A playlist that is asked for, and the one that is built: what the front door and the search server say of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.model import Body

LENGTH_MAX = 200  # tracks
SEEDS_MAX = 50

TrackId = Annotated[str, Field(min_length=1, max_length=256)]
Energy = Annotated[float, Field(ge=0, le=1)]


class EnergyShape(StrEnum):
    """How the energy of a playlist goes."""

    RISING = "rising"
    FALLING = "falling"
    ARC = "arc"  # up to the middle, then down
    STEADY = "steady"  # as that of the tracks that were named


class PlaylistRequest(Body):
    """Where a playlist starts from, where it leads, and how it goes."""

    user_id: str = Field(
        default="local",
        min_length=1,
        max_length=256,
        description="Whose own copy of a track is taken where there is one",
    )
    seeds: tuple[TrackId, ...] = Field(
        default=(), max_length=SEEDS_MAX, description="Tracks that it should sound like; on a path, places on the way"
    )
    from_: TrackId | None = Field(default=None, alias="from", description="The track that it begins with")
    to: TrackId | None = Field(default=None, description="The track that it ends with")
    length: int = Field(default=20, ge=1, le=LENGTH_MAX, description="How many tracks")
    energy_curve: tuple[Energy, ...] | EnergyShape | None = Field(
        default=None,
        max_length=LENGTH_MAX,
        description="rising, falling, arc, steady, or values of 0 to 1 that are spread over the length",
    )
    no_repeat_artist: bool = Field(default=True, description="No artist twice, as far as there are enough")
    own_only: bool = Field(default=False, description="Only tracks of this user's own library")

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if not (self.seeds or self.from_ or self.to):
            raise ValueError("give at least one of seeds, from, to")
        if self.from_ and self.to and self.length < 2:
            raise ValueError("a path from one track to another needs a length of 2 or more")
        if self.from_ and self.from_ == self.to:
            raise ValueError("from and to are the same track, which no playlist has twice")
        if self.energy_curve == ():
            raise ValueError("energyCurve has no value: leave it out, or give at least one")
        return self


class PlaylistTrack(Body):
    """One track of a playlist, and why it stands there."""

    track_id: str
    user_id: str
    title: str | None = None
    artists: tuple[str, ...] = ()
    tempo: float | None = Field(default=None, description="Beats per minute")
    energy: float | None = None
    camelot: str | None = Field(default=None, description="The key's place on the Camelot wheel, such as 8A")
    fit: float = Field(description="Cosine with what was wanted at this place, -1 to 1")
    similarity: float | None = Field(default=None, description="Cosine with the track before, -1 to 1")
    why: str = Field(description="In words")


class Playlist(Body):
    """Tracks in their order, and what could not be as it was asked for."""

    tracks: tuple[PlaylistTrack, ...]
    notes: tuple[str, ...] = ()
