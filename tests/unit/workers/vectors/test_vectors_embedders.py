"""A setting names the embedder; what is not installed says how to install it, and nothing is fetched unasked."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.machine import ROOT
from workers.models import build, runtime
from workers.vectors.embedders.choice import embedder_of
from workers.vectors.embedders.files import digest_of_folder
from workers.vectors.embedding import Embedder
from workers.vectors.errors import EmbedderMissing, WrongEmbedder
from workers.vectors.recipes import MODEL, RECIPES, TOKENIZER

TEXTS = ("a happy dog", "", "war " * 300, "\udc80 \0", "魔法少女")


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


needs_fastembed = pytest.mark.skipif(not _has("fastembed"), reason="the extra fastembed is not installed")
needs_sentence_transformers = pytest.mark.skipif(
    not _has("sentence_transformers"), reason="the extra sentence-transformers is not installed"
)


@pytest.fixture(scope="module")
def models() -> Path:
    if not (runtime.is_installed(MODEL) and runtime.is_installed(TOKENIZER)):
        list(build.build(runtime.models_folder(), RECIPES))
    return runtime.models_folder()


def _assert_embeds(embedder: Embedder) -> None:
    together = embedder.embed_documents(TEXTS)
    assert together.shape == (len(TEXTS), embedder.dimensions)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert embedder.embed_documents([]).shape == (0, embedder.dimensions)
    query = embedder.embed_query(TEXTS[0])
    assert query.shape == (embedder.dimensions,)
    np.testing.assert_allclose(embedder.embed_documents(TEXTS[:1])[0], together[0], atol=1e-5)
    assert embedder.max_tokens > 0


@pytest.mark.usefixtures("models")
def test_the_default_needs_no_name() -> None:
    assert embedder_of().id == embedder_of("minilm", dimensions=384).id


@pytest.mark.parametrize(
    "name", ["", ":", "minilm:", "minilm:other", "word2vec", "openai", "openai:", "fastembed:", "sentence-transformers"]
)
@pytest.mark.usefixtures("models")
def test_a_name_that_names_nothing_is_refused(name: str) -> None:
    with pytest.raises(WrongEmbedder, match="names no embedder"):
        embedder_of(name, url="http://127.0.0.1")


@pytest.mark.usefixtures("models")
def test_dimensions_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(WrongEmbedder, match="384 dimensions, not 100"):
        embedder_of("minilm", dimensions=100)


def test_an_endpoint_needs_an_address() -> None:
    with pytest.raises(WrongEmbedder, match="needs the address"):
        embedder_of("openai:little")


@pytest.mark.parametrize(
    ("extra", "package"), [("sentence-transformers", "huggingface_hub"), ("fastembed", "fastembed")]
)
def test_an_extra_that_is_not_installed_says_how_to_install_it(extra: str, package: str) -> None:
    if _has(extra.replace("-", "_")):
        pytest.skip(f"the extra {extra} is installed")
    with pytest.raises(EmbedderMissing, match=rf"pip install 'backline\[{extra}\]'"):
        embedder_of(f"{extra}:some/model")


def test_the_digest_of_a_folder_is_that_of_what_matters_in_it(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "model.bin").write_bytes(b"one")
    first = digest_of_folder(tmp_path)

    (tmp_path / "README.md").write_text("words")
    (tmp_path / ".cache").write_text("a lock")
    assert digest_of_folder(tmp_path) == first
    (tmp_path / "part" / "model.bin").rename(tmp_path / "model.bin")
    assert digest_of_folder(tmp_path) != first
    (tmp_path / "part" / "model.bin").write_bytes(b"two")
    assert digest_of_folder(tmp_path) != first


@pytest.fixture(scope="module")
def onnx_folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model as fastembed wants its files."""
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "model.onnx").symlink_to(models / MODEL)
    (folder / "tokenizer.json").symlink_to(models / TOKENIZER)
    (folder / "config.json").write_text('{"pad_token_id": 0}')
    (folder / "special_tokens_map.json").write_text('{"pad_token": "[PAD]"}')
    (folder / "tokenizer_config.json").write_text('{"pad_token": "[PAD]", "model_max_length": 256}')
    return folder


@pytest.fixture(scope="module")
def known_to_fastembed() -> str:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    name = "backline/minilm-int8"
    TextEmbedding.add_custom_model(
        model=name,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=name),
        dim=384,
        model_file="model.onnx",
    )
    return name


@needs_fastembed
def test_fastembed_gives_the_vectors_of_its_model(onnx_folder: Path, known_to_fastembed: str) -> None:
    from workers.vectors.embedders.fastembed_models import FastEmbedder

    embedder: Embedder = FastEmbedder(known_to_fastembed, folder=onnx_folder)

    _assert_embeds(embedder)
    assert (embedder.dimensions, embedder.max_tokens) == (384, 256)
    assert embedder.id == f"fastembed/{known_to_fastembed}/{digest_of_folder(onnx_folder)}/384"
    # the same files, so the same vectors as our own way to run them gives
    np.testing.assert_allclose(embedder.embed_documents(TEXTS[:3]), embedder_of().embed_documents(TEXTS[:3]), atol=1e-3)


@needs_fastembed
def test_fastembed_fetches_nothing_unasked(
    known_to_fastembed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path))
    with pytest.raises(EmbedderMissing, match=r"python -m workers.vectors.embedders fastembed:backline/minilm"):
        embedder_of(f"fastembed:{known_to_fastembed}")


@needs_fastembed
def test_a_model_that_fastembed_does_not_know_is_refused() -> None:
    with pytest.raises(WrongEmbedder, match="knows no model"):
        embedder_of("fastembed:nobody/nothing")


@pytest.fixture(scope="module")
def tiny_bert(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two small layers with weights by chance, in the form that sentence-transformers saves."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder, parts = tmp_path_factory.mktemp("tiny"), tmp_path_factory.mktemp("parts")
    torch.manual_seed(7)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(models / TOKENIZER), pad_token="[PAD]", model_max_length=64)
    tokenizer.save_pretrained(parts)
    BertModel(
        BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    ).save_pretrained(parts)
    transformer = Transformer(str(parts), max_seq_length=64)
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(folder))
    return folder


@needs_sentence_transformers
def test_sentence_transformers_gives_the_vectors_of_a_folder(tiny_bert: Path) -> None:
    embedder = embedder_of(f"sentence-transformers:{tiny_bert}")

    _assert_embeds(embedder)
    assert (embedder.dimensions, embedder.max_tokens) == (32, 64)
    assert embedder.id == f"sentence-transformers/{tiny_bert.name}/{digest_of_folder(tiny_bert)}/32"


@needs_sentence_transformers
def test_sentence_transformers_shortens_vectors(tiny_bert: Path) -> None:
    short, whole = (embedder_of(f"sentence-transformers:{tiny_bert}", dimensions=size) for size in (8, None))

    _assert_embeds(short)
    assert short.id != whole.id
    cut = whole.embed_documents(TEXTS[:1])[:, :8]
    np.testing.assert_allclose(short.embed_documents(TEXTS[:1]), cut / np.linalg.norm(cut), atol=1e-5)


@needs_sentence_transformers
@pytest.mark.parametrize("name", ["nobody/nothing", "nothing-at-all", "../.."])
def test_sentence_transformers_fetches_nothing_unasked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EmbedderMissing):
        embedder_of(f"sentence-transformers:{name}")


@pytest.mark.usefixtures("models")
def test_the_fetching_command_says_what_it_made() -> None:
    command = [sys.executable, "-m", "workers.vectors.embedders", "minilm"]

    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)

    assert done.stdout == f"{embedder_of().id}: 384 dimensions\n"
