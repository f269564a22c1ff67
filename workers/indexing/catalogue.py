"""The catalogue as the source of an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from shared.model import Db
from shared.store import catalogue
from shared.store.catalogue import CatalogueEntry
from workers.indexing.sources import Found
from workers.vectors.collections import catalogue_schema
from workers.vectors.schema import Entry, Schema

SYNONYMS_EMBEDDED = 3
"""The first few names say what the others say again, in other alphabets, which the model reads badly."""


class CatalogueSource:
    """Every entry of an owner's catalogue that is not gone from its feed."""

    def __init__(self, library: Db) -> None:
        self._library = library

    def schema(self, text_dimensions: int) -> Schema:
        """Return the form of the entries."""
        return catalogue_schema(text_dimensions)

    def ids(self, since: datetime | None = None) -> Iterator[str]:
        """Yield the ids of all that is there, or of all that has changed since."""
        return catalogue.iterate_ids(self._library, since=since)

    def find(self, ids: Sequence[str]) -> dict[str, Found]:
        """Return the entries that are not gone."""
        known = catalogue.find_many(self._library, ids)
        return {one: _found(entry) for one, entry in known.items() if entry.removed_at is None}


def _found(entry: CatalogueEntry) -> Found:
    return Found(
        text=text_of(entry),
        entry=Entry(
            id=entry.id,
            texts={
                "title": [entry.title],
                "synonyms": entry.synonyms,
                "artists": entry.artists,
                "album": [entry.album] if entry.album else [],
                "studios": entry.studios,
                "tags": entry.tags,
            },
            attributes={
                "type": entry.type,
                "status": entry.status,
                "season": entry.season,
                "tags": entry.tags,
                "studios": entry.studios,
                "artists": entry.artists,
                "catalogue": entry.catalogue,
                "form": entry.form,
                "year": entry.year,
                "episodes": entry.episodes,
                "score": entry.score,
                "quality": entry.quality,
                "duration": entry.duration_seconds,
            },
        ),
    )


def text_of(entry: CatalogueEntry) -> str:
    """Return what is said about an entry, in the order of its weight: a model reads the beginning best."""
    names = [entry.title, *entry.synonyms[:SYNONYMS_EMBEDDED]]
    parts = [
        "; ".join(names),
        f"by {', '.join(entry.artists)}" if entry.artists else "",
        f"on {entry.album}" if entry.album else "",
        ", ".join(entry.tags),
    ]
    return ". ".join(part for part in parts if part)
