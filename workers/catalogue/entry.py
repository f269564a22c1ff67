"""One entry of a catalogue, normalised: the same content is the same entry, however it was written."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any

from workers.catalogue.formats import Form
from workers.catalogue.identity import ids_of

CONTENT_VERSION = 1  # part of the content's hash; to be raised when equal content is to be taken as changed


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a catalogue says of an anime or a track."""

    form: Form
    title: str
    type: str  # TV, MOVIE, OVA, ONA, SPECIAL, UNKNOWN; TRACK
    sources: tuple[str, ...]  # addresses of its pages, and URNs of a track, sorted; at least one
    episodes: int | None = None
    status: str | None = None  # FINISHED, ONGOING, UPCOMING, UNKNOWN; None for tracks
    season: str | None = None  # WINTER, SPRING, SUMMER, FALL
    year: int | None = None
    picture: str | None = None
    thumbnail: str | None = None
    duration_seconds: int | None = None
    synonyms: tuple[str, ...] = ()
    studios: tuple[str, ...] = ()
    producers: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # lower case
    score: float | None = None  # 0 to 10
    artists: tuple[str, ...] = ()
    album: str | None = None
    track_id: str | None = None
    isrc: str | None = None
    related: tuple[str, ...] = ()

    @property
    def ids(self) -> dict[str, str]:
        """The ids at the well-known providers, by the provider's name."""
        return ids_of(self.sources)

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that the entry says, in hexadecimal."""
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        text = json.dumps([CONTENT_VERSION, values], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return sha256(text.encode()).hexdigest()
