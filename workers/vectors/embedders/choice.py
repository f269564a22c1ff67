"""The embedder that a setting names."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

from workers.vectors.embedders.http import HttpEmbedder
from workers.vectors.embedding import Embedder
from workers.vectors.errors import EmbedderMissing, WrongEmbedder

DEFAULT = "minilm"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """What is asked of an embedder besides its name."""

    url: str | None
    key: str | None
    dimensions: int | None
    may_fetch: bool


def embedder_of(
    name: str = DEFAULT,
    *,
    url: str | None = None,
    key: str | None = None,
    dimensions: int | None = None,
    may_fetch: bool = False,
) -> Embedder:
    """Return the embedder of a name, ready to embed; make it in the process that uses it, never across a fork.

    Args:
        name: "minilm", "sentence-transformers:NAME_OR_FOLDER", "fastembed:NAME" or "openai:MODEL".
        url: what stands before /embeddings, for "openai".
        key: what the endpoint knows us by.
        dimensions: the length of each vector, for models that can shorten them; None for the model's own.
        may_fetch: whether files of a model that are not there may be downloaded now.

    Raises:
        WrongEmbedder: if there is no such embedder, or it can't be had with these dimensions.
        EmbedderMissing: if a package or the model's files are not installed; it says how to get them.
        ModelMissing, ModelDamaged: if the environment lacks the files of the default model.
    """
    family, _, model = name.partition(":")
    make = _FAMILIES.get(family)
    if make is None or (name != DEFAULT if family == DEFAULT else not model):
        raise WrongEmbedder(
            f"{name!r} names no embedder: {DEFAULT}, sentence-transformers:NAME_OR_FOLDER, fastembed:NAME "
            "and openai:MODEL do."
        )
    embedder = make(model, _Wanted(url=url, key=key, dimensions=dimensions, may_fetch=may_fetch))
    if dimensions is not None and embedder.dimensions != dimensions:
        raise WrongEmbedder(f"{name} makes vectors of {embedder.dimensions} dimensions, not {dimensions}.")
    return embedder


def _minilm(model: str, wanted: _Wanted) -> Embedder:
    made: Embedder = import_module("workers.vectors.embedders.minilm").MiniLm()
    return made


def _sentence_transformers(model: str, wanted: _Wanted) -> Embedder:
    module = _optional("sentence_transformers", "sentence-transformers")
    made: Embedder = module.SentenceTransformersEmbedder(
        model, dimensions=wanted.dimensions, may_fetch=wanted.may_fetch
    )
    return made


def _fastembed(model: str, wanted: _Wanted) -> Embedder:
    made: Embedder = _optional("fastembed", "fastembed").FastEmbedder(model, may_fetch=wanted.may_fetch)
    return made


def _openai(model: str, wanted: _Wanted) -> Embedder:
    if wanted.url is None:
        raise WrongEmbedder(f"openai:{model} needs the address of the endpoint, https://api.openai.com/v1 say.")
    return HttpEmbedder(model, url=wanted.url, key=wanted.key, dimensions=wanted.dimensions)


def _optional(package: str, extra: str) -> ModuleType:
    """Return the module for a package that not every environment has."""
    try:
        return import_module(f"workers.vectors.embedders.{package}_models")
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise EmbedderMissing(f"{extra} is not installed: `pip install 'backline[{extra}]'` does it.") from None


_FAMILIES: dict[str, Callable[[str, _Wanted], Embedder]] = {
    DEFAULT: _minilm,
    "sentence-transformers": _sentence_transformers,
    "fastembed": _fastembed,
    "openai": _openai,
}
