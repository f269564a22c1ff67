"""How complete an entry is: the sum of the weights of what it has, 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping

from workers.catalogue.entry import Entry
from workers.catalogue.formats import Form
from workers.catalogue.identity import PROVIDERS

TAGS_ENOUGH = 5
DIGITS = 4

ANIME = {
    "tags": 0.15,  # in proportion, up to five of them
    "providers": 0.15,  # in proportion, up to the four well-known ones
    "picture": 0.10,
    "year": 0.10,
    "type": 0.10,  # not UNKNOWN
    "episodes": 0.10,  # at least one
    "status": 0.05,  # not UNKNOWN
    "season": 0.05,
    "duration": 0.05,
    "score": 0.05,
    "synonyms": 0.05,
    "studios": 0.05,
}
TRACK = {
    "artists": 0.25,
    "tags": 0.20,  # in proportion, up to five of them
    "album": 0.15,
    "track_id": 0.10,
    "isrc": 0.10,
    "year": 0.10,
    "duration": 0.05,
    "picture": 0.05,
}


def quality(entry: Entry) -> float:
    """Return the sum of the weights of what an entry has, each in proportion to how much of it there is: 0 to 1."""
    weights = TRACK if entry.form is Form.TRACKS else ANIME
    parts = _parts(entry)
    return round(sum(weight * float(parts[name]) for name, weight in weights.items()), DIGITS)


def _parts(entry: Entry) -> Mapping[str, float]:
    """Return how much of each thing an entry has, 0 to 1."""
    return {
        "tags": min(len(entry.tags), TAGS_ENOUGH) / TAGS_ENOUGH,
        "providers": len(entry.ids) / len(PROVIDERS),
        "picture": entry.picture is not None,
        "year": entry.year is not None,
        "type": entry.type != "UNKNOWN",
        "episodes": bool(entry.episodes),
        "status": entry.status not in (None, "UNKNOWN"),
        "season": entry.season is not None,
        "duration": entry.duration_seconds is not None,
        "score": entry.score is not None,
        "synonyms": bool(entry.synonyms),
        "studios": bool(entry.studios),
        "artists": bool(entry.artists),
        "album": entry.album is not None,
        "track_id": entry.track_id is not None,
        "isrc": entry.isrc is not None,
    }
