"""The vectors of queries, the ones of late kept: a page after the first costs no model."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from workers.vectors.embedding import Embedder, Floats

KEPT = 2_000  # vectors, of 1.5 KB each


class QueryEmbedder:
    """A model that is warm, and remembers."""

    def __init__(self, model: Embedder, note: Callable[[float], None]) -> None:
        """Embed one text, so that no query pays for the first; `note` is told how many seconds each later one took."""
        self.id = model.id
        self._model, self._note = model, note
        self._vector = lru_cache(KEPT)(self._embedded)
        model.embed_query("warm up")

    def _embedded(self, text: str) -> Floats:
        started = time.perf_counter()
        vector = self._model.embed_query(text)
        self._note(time.perf_counter() - started)
        return vector

    def vector(self, text: str) -> Floats:
        """Return the unit vector of a query, which nobody may write to."""
        vector = self._vector(text)
        vector.flags.writeable = False
        return vector
