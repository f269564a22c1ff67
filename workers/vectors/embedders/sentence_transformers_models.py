"""The models that sentence-transformers opens: from the hub's folder on this machine, or from any other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from huggingface_hub import snapshot_download
from sentence_transformers import SentenceTransformer

from workers.vectors.embedders.files import digest_of_folder
from workers.vectors.embedding import Floats, unit
from workers.vectors.errors import EmbedderMissing

BATCH_MAX = 8  # larger batches are no faster on one core and need more memory

# No more of a text is looked at: far beyond what most models see of it.
_TEXT_MAX = 50_000


class SentenceTransformersEmbedder:
    """A model of sentence-transformers on the processor; no code that comes with a model is run.

    Raises:
        EmbedderMissing: when it is made, if the model's files are not there, or are no such model.
    """

    def __init__(self, name: str, *, dimensions: int | None = None, may_fetch: bool = False) -> None:
        """Open a model; of vectors that can be shortened, the first `dimensions` numbers are taken."""
        folder = _folder(name, may_fetch=may_fetch)
        try:
            self._model = SentenceTransformer(
                str(folder), device="cpu", truncate_dim=dimensions, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise EmbedderMissing(f"{folder} is no model of sentence-transformers: {error}") from error
        self.dimensions = int(self._model.get_embedding_dimension())
        self.max_tokens = int(self._model.max_seq_length or _TEXT_MAX)
        self.id = f"sentence-transformers/{Path(name).name}/{digest_of_folder(folder)}/{self.dimensions}"

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors of shape (texts, dimensions), in the texts' order."""
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        readable = [_readable(text) for text in texts]
        found = self._model.encode_document(readable, batch_size=BATCH_MAX, show_progress_bar=False)
        return unit(np.asarray(found, np.float32))

    def embed_query(self, text: str) -> Floats:
        """Return the unit vector of what is looked for, shape (dimensions,), made as the model wants queries made."""
        found = self._model.encode_query([_readable(text)], show_progress_bar=False)
        return unit(np.asarray(found[0], np.float32))


def _folder(name: str, *, may_fetch: bool) -> Path:
    """Return the folder of a model's files."""
    if Path(name).is_dir():
        return Path(name)
    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        return Path(snapshot_download(repository, local_files_only=not may_fetch))
    except (OSError, ValueError) as error:
        raise EmbedderMissing(
            f"The files of {name} are not here: "
            f"`python -m workers.vectors.embedders sentence-transformers:{name}` fetches them."
        ) from error


def _readable(text: str) -> str:
    return text[:_TEXT_MAX].encode("utf-8", "replace").decode()
