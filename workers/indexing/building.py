"""Building: one snapshot out of all that is stored, or out of the one before and what has changed since."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from shared.batches import in_batches
from shared.clock import now
from shared.errors import ItemFailed, NotYet
from shared.jobs.job import JobContext
from shared.jobs.vector_index import Request, changes_since
from shared.store import embeddings, indexes, jobs
from shared.store.embeddings import text_id
from shared.store.indexes import IndexName, IndexPointer, Published
from workers.indexing.models import embed
from workers.indexing.sources import Found, Source
from workers.indexing.stores import store_in
from workers.vectors.collections import TEXT
from workers.vectors.embedding import Embedder
from workers.vectors.engine import Build, Index
from workers.vectors.errors import BuildInProgress, InvalidEntry, SnapshotDamaged, SnapshotMissing, SnapshotOutdated
from workers.vectors.schema import Entry

logger = logging.getLogger(__name__)

BATCH = 500
LATE_MAX = 2_000
"""So many texts are embedded by the builder itself: half a minute's work."""
WAIT = timedelta(seconds=3)
"""Until another look at whether somebody else still builds the same index."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """What a build came to."""

    snapshot: str
    put: int
    removed: int
    without_vector: int
    left_out: int  # documents that no index can hold


class Building:
    """The building of one index by one job."""

    def __init__(self, request: Request, context: JobContext, source: Source, embedder: Embedder) -> None:
        self._request = request
        self._context = context
        self._source = source
        self._embedder = embedder
        self._schema = source.schema(embedder.dimensions)
        self._with_spotify = context.settings.spotify_may_train and request.index is IndexName.TRACKS
        self._store = store_in(context.settings, context.owner, request.index)

    def run(self) -> Built:
        """Build, publish and have it searched; leave everything as it is where nothing has changed.

        Raises:
            NotYet: somebody else builds the same index.
            ItemFailed: the index needs to be built anew, and the job did not ask for it; or the disk does not take it.
        """
        try:
            return self._run()
        except (OSError, sqlite3.Error) as error:
            logger.exception("The index could not be written")
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            message = f"The worker's disk does not take the index: {reason}. What is searched stays as it is."
            raise ItemFailed("index_not_written", message) from None

    def _run(self) -> Built:
        pointer = indexes.find(self._context.db, self._context.owner, self._request.index)
        base = None if self._request.rebuild or pointer is None else self._open(pointer)
        try:
            return self._build(pointer, base)
        except BuildInProgress as error:
            raise NotYet(error.message, resumes_at=now() + WAIT) from None
        finally:
            if base is not None:
                base.close()

    def _open(self, pointer: IndexPointer) -> Index | None:
        """Return the snapshot to start from; None where only a new beginning helps."""
        if self._takes_out(pointer):
            logger.warning("%s is built from nothing, without what came from Spotify", pointer.id)
            return None
        if pointer.embedder != self._embedder.id:
            message = f"The index has vectors of {pointer.embedder}; texts are embedded by {self._embedder.id} now."
            raise ItemFailed("embedder_changed", f"{message} Submit the job again with rebuild.")
        try:
            base = self._store.open(pointer.snapshot)
        except (SnapshotMissing, SnapshotDamaged, SnapshotOutdated) as error:
            logger.warning("%s is built from nothing: %s", pointer.id, error)
            return None
        if base.schema == self._schema:
            return base
        base.close()
        return None

    def _build(self, pointer: IndexPointer | None, base: Index | None) -> Built:
        watermark = now()
        since = None if base is None else changes_since(pointer, self._request)
        with self._store.building(
            self._schema,
            base=None if base is None else base.name,
            provenance={"embedder": self._embedder.id, "job": self._context.job_id},
            threads=max(1, (os.cpu_count() or 1) // 2),
        ) as build:
            filling = _Filling(build, base, self._source, self._context, self._embedder)
            filling.take(self._source.ids(since))
            if base is not None:
                filling.reconcile()
            if base is not None and pointer is not None and not (filling.put or filling.removed):
                indexes.advance(self._context.db, pointer, watermark)
                return filling.built(base.name)
            name = build.publish()
            self._swing(pointer, name, watermark)
        self._clean()
        return filling.built(name)

    def _swing(self, pointer: IndexPointer | None, name: str, watermark: datetime) -> None:
        with self._store.open(name) as index:  # as who searches will
            published = Published(
                snapshot=name,
                entries=len(index),
                bytes=index.size,
                embedder=self._embedder.id,
                with_spotify=self._with_spotify,
                recall=index.recall,
                watermark=watermark,
                job_id=self._context.job_id,
                built_at=now(),
            )
        following = IndexPointer.following(
            pointer, published, owner=self._context.owner, name=self._request.index.value
        )
        if pointer is not None and self._takes_out(pointer):  # nobody goes back to that
            following = following.model_copy(update={"before": None})
        if not indexes.swing(self._context.db, following):
            raise NotYet("The index was changed by somebody else meanwhile.", resumes_at=now())

    def _takes_out(self, pointer: IndexPointer) -> bool:
        """Whether the index holds what came from Spotify, and may not any more."""
        return pointer.with_spotify and not self._with_spotify

    def _clean(self) -> None:
        """Delete what nobody searches or could go back to."""
        pointer = indexes.find(self._context.db, self._context.owner, self._request.index)
        if pointer is not None:
            self._store.clean(keep=[one for one in (pointer.snapshot, pointer.previous) if one])


class _Filling:
    """Brings a build up to date."""

    def __init__(
        self, build: Build, base: Index | None, source: Source, context: JobContext, embedder: Embedder
    ) -> None:
        self.put = self.removed = self.without_vector = self.left_out = 0
        self._build = build
        self._base = base
        self._source = source
        self._context = context
        self._embedder = embedder
        self._embedded = 0
        self._shift = 0  # of the sum over the base's ids
        self._taken: set[str] = set()  # what has changed is told of once by each thing that has

    def take(self, ids: Iterable[str]) -> None:
        """Put or remove what these ids stand for now; what has not changed stays."""
        for some in in_batches(ids, BATCH):
            batch = self._untaken(some)
            if jobs.is_cancelled(self._context.db, self._context.job_id):
                raise ItemFailed("cancelled", "The job was cancelled before its index was published.")
            found = self._source.find(batch)
            vectors = self._vectors(found.values())
            before = {} if self._base is None else self._base.find_entries(batch)
            for one in batch:
                self._take(one, before.get(one), found.get(one), vectors)

    def _untaken(self, ids: Iterable[str]) -> list[str]:
        batch = [one for one in dict.fromkeys(ids) if one not in self._taken]
        if self._base is not None:  # else all come, and each once
            self._taken.update(batch)
        return batch

    def reconcile(self) -> None:
        """Find what others have put in or deleted without a trace, where a sum over all ids says that they have."""
        assert self._base is not None
        if sum(map(hash, self._base.ids())) + self._shift == sum(map(hash, self._source.ids())):
            return
        there, here = set(self._source.ids()), set(self._base.ids())
        self.take(sorted(there ^ here))

    def built(self, name: str) -> Built:
        """Return what it came to."""
        return Built(
            snapshot=name,
            put=self.put,
            removed=self.removed,
            without_vector=self.without_vector,
            left_out=self.left_out,
        )

    def _vectors(self, found: Iterable[Found]) -> Mapping[str, bytes]:
        keys = {one.text: text_id(one.text, self._embedder.id) for one in found}
        stored = embeddings.find_vectors(self._context.db, list(keys.values()))
        known = {text: stored[key] for text, key in keys.items() if key in stored}
        return known | self._late([text for text in keys if text not in known])

    def _late(self, texts: Sequence[str]) -> dict[str, bytes]:
        """Embed what came while the others were embedded, or without a trace; if it is much, it is for another job."""
        self._embedded += len(texts)
        return embed(texts, self._embedder, self._context.db) if self._embedded <= LATE_MAX else {}

    def _take(self, one: str, before: Entry | None, found: Found | None, vectors: Mapping[str, bytes]) -> None:
        if found is None:
            self._remove(one, before)
            return
        entry = found.entry
        vector = vectors.get(found.text)
        if vector is None:
            self.without_vector += 1
        else:
            text_vector = np.frombuffer(vector, "<f4")
            entry = Entry(
                id=one,
                vectors={**entry.vectors, TEXT: text_vector},
                texts=entry.texts,
                attributes=entry.attributes,
            )
        if before is not None and _is_same(before, entry):
            return
        try:
            self._build.put(entry)
        except InvalidEntry as error:  # as somebody else has stored it; the others go on
            logger.warning("Left out of the index: %s", error)
            self.left_out += 1
            self._remove(one, before)
            return
        self.put += 1
        self._shift += hash(one) if before is None else 0

    def _remove(self, one: str, before: Entry | None) -> None:
        if before is not None:
            self._build.remove(one)
            self.removed += 1
            self._shift -= hash(one)


def _is_same(before: Entry, entry: Entry) -> bool:
    """Whether an entry is as it was; a snapshot keeps neither what is empty nor the lengths of vectors."""
    if _plain(before.texts) != _plain(entry.texts) or _plain(before.attributes) != _plain(entry.attributes):
        return False
    return before.vectors.keys() == entry.vectors.keys() and all(
        np.allclose(before.vectors[space], entry.vectors[space], atol=1e-6) for space in entry.vectors
    )


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    return {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in values.items()
        if value is not None and value != () and value != []
    }
