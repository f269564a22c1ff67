"""Where the models that listen come from."""

from collections.abc import Mapping
from pathlib import Path

from workers.models.build import Recipe, converting, copy


def convert_musicnn(sources: Mapping[str, Path], target: Path) -> None:
    """Turn a TensorFlow checkpoint of musicnn into ONNX."""
    (folder,) = {source.parent for source in sources.values()}
    with converting():
        # here, so that the other models can be had without the converter's libraries
        from workers.audio.neural.musicnn import convert

        convert(folder, target)


RECIPES = (
    Recipe(
        name="silero_vad_16k_sequence.onnx",
        wheel="silero-vad",
        sources={
            "silero_vad/data/silero_vad_16k_sequence.onnx": (
                "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
            )
        },
        make=copy,
    ),
    Recipe(
        name="musicnn_mtt.onnx",
        wheel="musicnn",
        sources={
            "musicnn/MTT_musicnn/.data-00000-of-00001": (
                "041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab"
            ),
            "musicnn/MTT_musicnn/.index": "da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
        },
        make=convert_musicnn,
        code=tuple(Path(__file__).with_name(name) for name in ("musicnn.py", "checkpoint.py")),
    ),
)
