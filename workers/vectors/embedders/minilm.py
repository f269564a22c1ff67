"""The default text model, all-MiniLM-L6-v2 with int8 weights: offline, 384 dimensions, English first.

Mean over the tokens, then unit length, as its card says (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
Every token is brought to int8 by itself, so a text's vector does not depend on the batch that it is in.
"""
# mypy: disable-error-code="import-untyped"

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer

from workers.models.runtime import model_file, open_model
from workers.vectors.embedding import Floats, unit
from workers.vectors.recipes import MODEL, MODEL_SHA256, PUBLISHED_SHA256, TOKENIZER, TOKENIZER_SHA256

DIMENSIONS = 384
MAX_TOKENS = 256  # what the model was made for; the tokenizer's file alone would say 128

# Larger batches are no faster on one core and need more memory: 8 x 256 tokens take 40 MB.
BATCH_MAX = 8
# No more of a text is looked at: far beyond what MAX_TOKENS words need, and little beside a runaway document.
_TEXT_MAX = 20_000


class MiniLm:
    """all-MiniLM-L6-v2 on one core.

    Raises:
        ModelMissing, ModelDamaged: when it is made, if the environment lacks the model's files.
    """

    dimensions = DIMENSIONS
    max_tokens = MAX_TOKENS
    # The published model's: ours gives the same vectors, so none has to be made anew.
    id = f"all-minilm-l6-v2-int8/{PUBLISHED_SHA256[:12]}/{MAX_TOKENS}"

    def __init__(self) -> None:
        self._session = open_model(MODEL, MODEL_SHA256)
        self._tokenizer = Tokenizer.from_file(str(model_file(TOKENIZER, TOKENIZER_SHA256)))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def embed_documents(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors of shape (texts, 384), in the texts' order; any text has one, the empty text too."""
        tokens = [self._tokens(text) for text in texts]
        # neighbours in length share a batch, so that little of it is padding
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        vectors = np.empty((len(tokens), DIMENSIONS), np.float32)
        for start in range(0, len(order), BATCH_MAX):
            places = order[start : start + BATCH_MAX]
            vectors[places] = self._embed([tokens[place] for place in places])
        return vectors

    def embed_query(self, text: str) -> Floats:
        """Return the unit vector of one text, shape (384,): this model makes no difference of queries."""
        (vector,) = self._embed([self._tokens(text)])
        return np.asarray(vector)

    def _tokens(self, text: str) -> list[int]:
        # One text at a time: for batches the tokenizer starts threads, which do not survive a fork.
        readable = text[:_TEXT_MAX].encode("utf-8", "replace").decode()
        return list(self._tokenizer.encode(readable).ids)

    def _embed(self, tokens: Sequence[Sequence[int]]) -> Floats:
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        hidden: Floats = self._session.run(["last_hidden_state"], inputs)[0]
        total: Floats = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32))
        return unit(total)
