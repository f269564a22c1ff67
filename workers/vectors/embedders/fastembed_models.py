"""The models that fastembed knows: ONNX by onnxruntime, as the default one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fastembed import TextEmbedding

from workers.vectors.embedders.files import digest_of_folder
from workers.vectors.embedding import Floats, unit
from workers.vectors.errors import EmbedderMissing, WrongEmbedder

BATCH_MAX = 8  # larger batches are no faster on one core and need more memory

# No more of a text is looked at: far beyond what any of the models sees of it.
_TEXT_MAX = 50_000


class FastEmbedder:
    """A model of fastembed's on one core; its files lie in `$FASTEMBED_CACHE_PATH`.

    Raises:
        WrongEmbedder: when it is made, if fastembed knows no model of this name.
        EmbedderMissing: when it is made, if the model's files are not there.
    """

    def __init__(self, name: str, *, folder: Path | None = None, may_fetch: bool = False) -> None:
        """Open a model, of which the files may lie in a folder of their own."""
        try:
            self._model = TextEmbedding(
                name,
                threads=1,
                cuda=False,
                local_files_only=not may_fetch,
                specific_model_path=None if folder is None else str(folder),
            )
            self.dimensions = int(self._model.embedding_size)
        except ValueError as error:
            if any(name.lower() == known["model"].lower() for known in TextEmbedding.list_supported_models()):
                raise _missing(name) from error
            raise WrongEmbedder(f"fastembed knows no model {name!r}.") from None
        except OSError as error:
            raise _missing(name) from error
        files = digest_of_folder(Path(self._model.model._model_dir))
        self.id = f"fastembed/{name}/{files}/{self.dimensions}"
        truncation = self._model.model.tokenizer.truncation
        self.max_tokens = int(truncation["max_length"]) if truncation else _TEXT_MAX

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors of shape (texts, dimensions), in the texts' order."""
        found = list(self._model.passage_embed([_readable(text) for text in texts], batch_size=BATCH_MAX))
        return unit(np.asarray(found, np.float32).reshape(len(texts), self.dimensions))

    def embed_query(self, text: str) -> Floats:
        """Return the unit vector of what is looked for, shape (dimensions,), made as the model wants queries made."""
        (vector,) = self._model.query_embed(_readable(text))
        return unit(np.asarray(vector, np.float32))


def _readable(text: str) -> str:
    return text[:_TEXT_MAX].encode("utf-8", "replace").decode()


def _missing(name: str) -> EmbedderMissing:
    return EmbedderMissing(
        f"The files of {name} are not here: `python -m workers.vectors.embedders fastembed:{name}` fetches them."
    )
