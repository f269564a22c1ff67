"""The converted network answers as the original does: the literals come from musicnn 0.1.0 run by TensorFlow 2.21."""
# mypy: disable-error-code="import-untyped"

from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from workers.audio.neural.checkpoint import CheckpointUnreadable
from workers.audio.neural.musicnn import convert

from .conftest import Floats

# The first eight tags and the first eight places of the embedding.
ORIGINAL = {
    "MTT_musicnn": (
        [0.0388336, 0.0004814, 0.0250753, 0.2836472, 0.0007874, 0.0103928, 0.2609968, 0.0579382],
        [0.8747089, 0.2783851, -0.0922630, -0.1860575, -0.0787033, 2.1714292, -0.1057511, -0.2253039],
    ),
    "MSD_musicnn": (
        [0.0079496, 0.0025037, 0.0053884, 0.0012458, 0.1697855, 0.0068561, 0.0303328, 0.0045455],
        [-0.1771756, 3.0223861, -0.2848264, -0.2751209, 0.2579463, 1.4448018, 0.2646070, -0.4571146],
    ),
}


def _checkpoint(name: str) -> Path:
    return Path(str(metadata.distribution("musicnn").locate_file(f"musicnn/{name}")))


def _pattern() -> Floats:
    """A patch that no recording has, the same everywhere."""
    frame, band = np.meshgrid(np.arange(187), np.arange(96), indexing="ij")
    waves = 1.5 + np.sin(0.31 * frame) * np.cos(0.17 * band) + 0.5 * np.sin(0.05 * frame * band / 10)
    return np.asarray(waves.clip(0), np.float32)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("model") / "musicnn.onnx"
    convert(_checkpoint("MTT_musicnn"), target)
    return target


@pytest.mark.parametrize("name", ORIGINAL)
def test_the_converted_network_answers_as_the_original(tmp_path: Path, name: str) -> None:
    convert(_checkpoint(name), tmp_path / "model.onnx")

    probabilities, embedding = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(
        None, {"patches": [_pattern()]}
    )

    assert (probabilities.shape, embedding.shape) == ((1, 50), (1, 200))
    np.testing.assert_allclose(probabilities[0, :8], ORIGINAL[name][0], atol=1e-4)
    np.testing.assert_allclose(embedding[0, :8], ORIGINAL[name][1], atol=1e-4)


def test_patches_of_a_batch_do_not_hear_each_other(converted: Path) -> None:
    model, loud = onnxruntime.InferenceSession(converted), _pattern()
    alone, _ = model.run(None, {"patches": loud[None]})
    among, _ = model.run(None, {"patches": np.stack([0 * loud, loud, 2 * loud])})
    np.testing.assert_allclose(among[1], alone[0], atol=1e-6)


def test_converting_again_gives_the_same_bytes(converted: Path, tmp_path: Path) -> None:
    convert(_checkpoint("MTT_musicnn"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == converted.read_bytes()


@pytest.mark.parametrize("damage", ["no folder", "foreign index", "cut index", "cut data"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    folder, original = tmp_path / "checkpoint", _checkpoint("MTT_musicnn")
    index, data = (original / ".index").read_bytes(), (original / ".data-00000-of-00001").read_bytes()
    if damage != "no folder":
        folder.mkdir()
        damaged = {"foreign index": b"{}", "cut index": index[:2000] + index[-48:]}.get(damage, index)
        (folder / ".index").write_bytes(damaged)
        (folder / ".data-00000-of-00001").write_bytes(data[:4000] if damage == "cut data" else data)

    with pytest.raises(CheckpointUnreadable, match="checkpoint"):
        convert(folder, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
