"""What turns texts into vectors, whichever model does it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SHORTEST = 1e-12  # a vector below has no direction


class Embedder(Protocol):
    """A model that embeds texts; make and use it in one process, never across a fork."""

    @property
    def id(self) -> str:
        """Return what vectors are kept under: it changes when the same text would get another vector."""

    @property
    def dimensions(self) -> int:
        """Return the length of each vector."""

    @property
    def max_tokens(self) -> int:
        """Return how many tokens of a text count; what comes after them is not seen."""

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Return the vectors of texts to be found, of unit length, shape (texts, dimensions), in the texts' order."""

    def embed_query(self, text: str) -> Floats:
        """Return the vector of what is looked for, of unit length, shape (dimensions,)."""


def unit(vectors: NDArray[np.floating]) -> Floats:
    """Scale the last axis to unit length; what has no length stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > _SHORTEST), np.float32)
