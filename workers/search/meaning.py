"""The vectors of queries, the ones of late kept: a page after the first costs no model."""

from __future__ import annotations

from functools import lru_cache

from workers.vectors.embedding import Embedder, Floats

KEPT = 2_000  # vectors, of 1.5 KB each


class QueryEmbedder:
    """A model that is warm, and remembers."""

    def __init__(self, model: Embedder) -> None:
        """Embed one text, so that no query pays for the first."""
        self.id = model.id
        self._vector = lru_cache(KEPT)(model.embed_query)
        model.embed_query("warm up")

    def vector(self, text: str) -> Floats:
        """Return the unit vector of a query, which nobody may write to."""
        vector = self._vector(text)
        vector.flags.writeable = False
        return vector
