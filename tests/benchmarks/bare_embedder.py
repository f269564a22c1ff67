"""Nothing but the model: what texts cost that are cut to tokens and sorted into batches beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.vectors.embedders.minilm import BATCH_MAX, MiniLm

Batch = dict[str, NDArray[np.int64]]


def batches_of(model: MiniLm, texts: Sequence[str]) -> list[Batch]:
    """Return the inputs of the bare model, with as little padding as can be."""
    tokens = sorted((model._tokens(text) for text in texts), key=len)
    return [_batch(tokens[start : start + BATCH_MAX]) for start in range(0, len(tokens), BATCH_MAX)]


def _batch(part: Sequence[Sequence[int]]) -> Batch:
    ids = np.zeros((len(part), len(part[-1])), np.int64)
    for row, one in enumerate(part):
        ids[row, : len(one)] = one
    mask = np.asarray(np.arange(ids.shape[1]) < np.asarray([[len(one)] for one in part]), np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
