"""Nothing but the model: what texts cost that are cut to tokens and sorted into batches beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.models.runtime import open_file, open_model
from workers.vectors.embedders.minilm import BATCH_MAX, MiniLm
from workers.vectors.recipes import MODEL, MODEL_SHA256, PUBLISHED, PUBLISHED_WHEEL

Batch = dict[str, NDArray[np.int64]]


class BareModel:
    """A model in ONNX Runtime: as it was published, or the one that Backline makes of it."""

    def __init__(self, *, is_published: bool) -> None:
        wheel = metadata.distribution(PUBLISHED_WHEEL)
        published = Path(str(wheel.locate_file(PUBLISHED)))
        self._session = open_file(published) if is_published else open_model(MODEL, MODEL_SHA256)
        self._inputs = [one.name for one in self._session.get_inputs()]

    def batches_of(self, texts: Sequence[str]) -> list[Batch]:
        """Return the model's inputs, with as little padding as can be."""
        model = MiniLm()
        tokens = sorted((model._tokens(text) for text in texts), key=len)
        return [self._batch(tokens[start : start + BATCH_MAX]) for start in range(0, len(tokens), BATCH_MAX)]

    def run(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._session.run(None, batch)

    def _batch(self, part: Sequence[Sequence[int]]) -> Batch:
        ids = np.zeros((len(part), len(part[-1])), np.int64)
        for row, one in enumerate(part):
            ids[row, : len(one)] = one
        mask = np.asarray(np.arange(ids.shape[1]) < np.asarray([[len(one)] for one in part]), np.int64)
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return {name: known[name] for name in self._inputs}
