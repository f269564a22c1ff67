"""The work of the job kind `vector_index`: embed what has no vector yet, then build."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.job import JobContext
from shared.jobs.vector_index import Item, Request, Result
from shared.store import embeddings
from shared.store.embeddings import text_id
from shared.store.indexes import IndexName
from workers.indexing.building import Building
from workers.indexing.catalogue import CatalogueSource
from workers.indexing.failures import as_job_failures
from workers.indexing.models import embed, text_embedder
from workers.indexing.sources import Source
from workers.indexing.tracks import TracksSource
from workers.vectors.embedding import Embedder

EMBEDDED_AT_ONCE = 256
"""So many texts are read, embedded and stored together, one or two seconds' work: the more there are, the more of
them find others of their length to share a batch with (of 64, an eighth more is padding)."""


def source_of(request: Request, context: JobContext) -> Source:
    """Return what the index is made of."""
    if request.index is IndexName.TRACKS:
        return TracksSource(context.library, context.db, with_spotify=context.settings.spotify_may_train)
    return CatalogueSource(context.library)


def index_entries(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each item's outcome: its text has a vector, or the index is published."""
    with as_job_failures():
        yield from _outcomes(request, items, context)


def _outcomes(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    embedder = text_embedder(context.settings)
    source = source_of(request, context)
    ids = [item.id for item in items if item.id is not None]
    for start in range(0, len(ids), EMBEDDED_AT_ONCE):
        yield from _embedded(ids[start : start + EMBEDDED_AT_ONCE], source, embedder, context)
    if any(item.id is None for item in items):
        yield _built(Building(request, context, source, embedder))


def _embedded(ids: Sequence[str], source: Source, embedder: Embedder, context: JobContext) -> Iterator[ItemOutcome]:
    found = source.find(ids)
    keys = {one: text_id(known.text, embedder.id) for one, known in found.items()}
    stored = embeddings.find_known(context.db, list(keys.values()))
    embed(list({known.text for one, known in found.items() if keys[one] not in stored}), embedder, context.db)
    for one in ids:
        # What is gone by now needs no vector; its removal is the building's part.
        yield succeeded(Result(), cached=one not in keys or keys[one] in stored)


def _built(building: Building) -> ItemOutcome:
    built = building.run()
    if built.without_vector:
        message = f"{built.without_vector:,} entries are searched by their words alone: they have no vector yet."
        return failed("incomplete", f"The index is published, but {message} Submit it again with rebuild.")
    result = Result(snapshot=built.snapshot, put=built.put, removed=built.removed, left_out=built.left_out)
    return succeeded(result)
