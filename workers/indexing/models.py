"""The model that embeds texts, one a process, opened when it is first needed: after the fork."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from shared.model import Db
from shared.settings import Settings
from shared.store import embeddings
from shared.store.embeddings import text_id
from workers.vectors.embedders.choice import embedder_of
from workers.vectors.embedding import Embedder


def text_embedder(settings: Settings) -> Embedder:
    """Return the model that the settings name.

    Raises:
        ModelMissing, ModelDamaged, WrongEmbedder, EmbedderMissing: see there what to do.
    """
    key = settings.embedder_key
    return _made(
        settings.embedder,
        settings.embedder_url,
        None if key is None else key.get_secret_value(),
        settings.embedder_dimensions,
    )


@lru_cache(maxsize=1)
def _made(name: str, url: str | None, key: str | None, dimensions: int | None) -> Embedder:
    return embedder_of(name, url=url, key=key, dimensions=dimensions)


def embed(texts: Sequence[str], embedder: Embedder, db: Db) -> dict[str, bytes]:
    """Embed texts, store their vectors, and return them as little-endian 32-bit floats."""
    vectors = embedder.embed_documents(texts) if texts else ()
    made = {text: vector.astype("<f4").tobytes() for text, vector in zip(texts, vectors, strict=True)}
    embeddings.save(db, {text_id(text, embedder.id): vector for text, vector in made.items()})
    return made
