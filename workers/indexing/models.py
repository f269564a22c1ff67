"""The model that embeds texts, one a process, opened when it is first needed: after the fork."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from shared.model import Db
from shared.store import embeddings
from shared.store.embeddings import text_id
from workers.vectors.embedding import Embedder
from workers.vectors.minilm import MiniLm


@lru_cache(maxsize=1)
def text_embedder() -> Embedder:
    """Return the model. Raises `ModelMissing`, `ModelDamaged`."""
    return MiniLm()


def embed(texts: Sequence[str], embedder: Embedder, db: Db) -> dict[str, bytes]:
    """Embed texts, store their vectors, and return them as little-endian 32-bit floats."""
    vectors = embedder.embed_documents(texts) if texts else ()
    made = {text: vector.astype("<f4").tobytes() for text, vector in zip(texts, vectors, strict=True)}
    embeddings.save(db, {text_id(text, embedder.id): vector for text, vector in made.items()})
    return made
