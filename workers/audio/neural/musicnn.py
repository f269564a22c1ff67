"""The published weights of musicnn as an ONNX model: needs the `onnx` package, and only when the environment is made.

musicnn tags three seconds of music with a convolutional network whose first filters are shaped like timbres (tall)
and rhythms (long): J. Pons & X. Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging",
ISMIR 2019 late-breaking demo (arXiv:1909.06654); J. Pons et al., "End-to-end learning for music audio tagging at
scale", ISMIR 2018. The weights come in the Python package `musicnn` 0.1.0 (ISC licence), trained by its authors on

* `MSD_musicnn`: some 200,000 songs of the Million Song Dataset, labelled with the fifty most frequent Last.fm tags
  (genres, moods, decades, voices);
* `MTT_musicnn`: some 19,000 clips of MagnaTagATune, labelled with fifty words of the game TagATune (instruments,
  voices, genres).

Both share one graph, so `convert` takes either. The package itself is never imported: it wants TensorFlow.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workers.audio.neural.checkpoint import read_tensors
from workers.audio.neural.mel import BANDS, FRAMES

TAGS = 50
EMBEDDING = 200

_OPSET = 17
_IR_VERSION = 8
# ONNX Runtime works on 16 filters at a time, and pools in that layout only where their number is a multiple: empty
# filters to fill up a block cost nothing and save a copy of the largest arrays, a fifth of the time.
_BLOCK = 16
_EPSILON = 1e-3  # of TensorFlow's batch normalisation

# Convolutions of the front end over (time, frequency) in the order of the checkpoint's names: padding in time of
# two tall kernels, which see timbres, and of three long ones, which see rhythms.
_FRONT_PADDING = ((3, 3), (3, 3), (63, 64), (31, 32), (15, 16))
_MIDDLE = range(5, 8)


def convert(checkpoint: Path, target: Path) -> None:
    """Write the network of a musicnn checkpoint as an ONNX model.

    Its input `patches` is a log-mel spectrogram (batch, 187, 96); its outputs are `probabilities` (batch, 50) and
    `embedding` (batch, 200), the normalised layer before the last.

    Args:
        checkpoint: the folder `MSD_musicnn` or `MTT_musicnn` of the installed package.
        target: file to write.

    Raises:
        CheckpointUnreadable: if the folder holds no such checkpoint.
    """
    model = _Network(read_tensors(checkpoint)).model()
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))


class _Network:
    """Nodes and weights of the graph as they accumulate."""

    def __init__(self, tensors: dict[str, NDArray[np.float32]]) -> None:
        self._tensors = tensors
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        self._embedding(self._pooled(self._middle(self._front())))
        self._probabilities()
        graph = helper.make_graph(
            self._nodes,
            "musicnn",
            [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["batch", FRAMES, BANDS])],
            [
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", TAGS]),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", EMBEDDING]),
            ],
            self._weights,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, producer_name="backline", opset_imports=[opset], ir_version=_IR_VERSION)

    def _front(self) -> str:
        """Return the features of timbre and rhythm, (batch, 561, 187)."""
        scale, offset = self._normalisation(0)
        scaled = self._add("Mul", "patches", self._weight("input_scale", scale))
        shifted = self._add("Add", scaled, self._weight("input_offset", offset))
        image = self._add("Unsqueeze", shifted, self._weight("channel_axis", np.array([1])))
        features = [self._shape_filter(image, index, padding) for index, padding in enumerate(_FRONT_PADDING)]
        return self._add("Concat", *features, axis=1)

    def _shape_filter(self, image: str, index: int, padding: tuple[int, int]) -> str:
        """Return the strongest response over all frequencies, normalised, (batch, filters, 187).

        The maximum comes before rectifier and normalisation, on the bare convolution, which saves two passes over
        the largest arrays. Where the normalisation's scale is negative, the maximum of the normalised values is at
        the minimum of the convolution's: those filters change sign before and after.
        """
        scale, offset = self._normalisation(index + 1)
        sign = np.where(scale < 0, np.float32(-1), np.float32(1))
        kernel, bias = self._layer("conv2d", index)
        height, width, _, filters = kernel.shape
        flipped = kernel.transpose(3, 2, 0, 1) * sign[:, None, None, None]
        responses = self._add(
            "Conv",
            image,
            self._weight(f"front{index}_kernel", _in_blocks(flipped)),
            self._weight(f"front{index}_bias", _in_blocks(bias * sign)),
            kernel_shape=[height, width],
            pads=[padding[0], 0, padding[1], 0],
        )
        strongest = self._add("MaxPool", responses, kernel_shape=[1, BANDS - width + 1])
        flat = self._add("Squeeze", strongest, self._weight(f"front{index}_axis", np.array([3])))
        bounds = [self._weight(f"front{index}_{name}", np.array([at])) for name, at in (("from", 0), ("to", filters))]
        used = self._add("Slice", flat, *bounds, self._weight(f"front{index}_along", np.array([1])))
        upright = self._add("Mul", used, self._weight(f"front{index}_sign", sign[:, None]))
        return self._rectified(upright, f"front{index}", scale, offset)

    def _middle(self, front: str) -> str:
        """Return the front end's features and those of three layers on top, (batch, 753, 187)."""
        layers, last = [front], None
        for index in _MIDDLE:
            kernel, bias = self._layer("conv2d", index)
            response = self._add(
                "Conv",
                layers[-1],
                self._weight(f"middle{index}_kernel", kernel[:, :, 0].transpose(2, 1, 0)),
                self._weight(f"middle{index}_bias", bias),
                kernel_shape=[len(kernel)],
                pads=[3, 3],
            )
            found = self._rectified(response, f"middle{index}", *self._normalisation(index + 1))
            last = found if last is None else self._add("Add", found, last)
            layers.append(last)
        return self._add("Concat", *layers, axis=1)

    def _pooled(self, features: str) -> str:
        """Return the maximum over time of every feature, then the mean of every feature, (batch, 1506)."""
        highest = self._add("ReduceMax", features, axes=[2], keepdims=0)
        mean = self._add("ReduceMean", features, axes=[2], keepdims=0)
        return self._add("Concat", highest, mean, axis=1)

    def _embedding(self, pooled: str) -> None:
        kernel, bias = self._layer("dense", 0)
        scale, offset = self._normalisation(9)
        # The checkpoint's rows alternate between maximum and mean, ours do not.
        rows = np.concatenate([np.arange(0, len(kernel), 2), np.arange(1, len(kernel), 2)])
        scaled = self._add("Mul", pooled, self._weight("pooled_scale", scale[rows]))
        shifted = self._add("Add", scaled, self._weight("pooled_offset", offset[rows]))
        weights = self._weight("dense_kernel", kernel[rows]), self._weight("dense_bias", bias)
        self._rectified(self._add("Gemm", shifted, *weights), "dense", *self._normalisation(10), name="embedding")

    def _probabilities(self) -> None:
        kernel, bias = self._layer("dense", 1)
        weights = self._weight("output_kernel", kernel), self._weight("output_bias", bias)
        self._add("Sigmoid", self._add("Gemm", "embedding", *weights), name="probabilities")

    def _rectified(
        self, value: str, label: str, scale: NDArray[np.float32], offset: NDArray[np.float32], *, name: str = ""
    ) -> str:
        """Rectify, then normalise along the axis of channels, which is the second."""
        shape = (-1,) if label == "dense" else (-1, 1)
        positive = self._add("Relu", value)
        scaled = self._add("Mul", positive, self._weight(f"{label}_scale", scale.reshape(shape)))
        return self._add("Add", scaled, self._weight(f"{label}_offset", offset.reshape(shape)), name=name)

    def _normalisation(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return scale and offset that stand for a trained batch normalisation."""
        prefix = _numbered("batch_normalization", index)
        variance = self._tensors[f"{prefix}/moving_variance"].astype(np.float64)
        scale = self._tensors[f"{prefix}/gamma"] / np.sqrt(variance + _EPSILON)
        offset = self._tensors[f"{prefix}/beta"] - self._tensors[f"{prefix}/moving_mean"] * scale
        return scale.astype(np.float32), offset.astype(np.float32)

    def _layer(self, kind: str, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        prefix = _numbered(kind, index)
        return self._tensors[f"{prefix}/kernel"], self._tensors[f"{prefix}/bias"]

    def _weight(self, name: str, values: NDArray[Any]) -> str:
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _add(self, operation: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = name or f"{operation.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output


def _in_blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values with empty filters appended, up to a multiple of `_BLOCK`."""
    missing = -len(values) % _BLOCK
    return np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))


def _numbered(kind: str, index: int) -> str:
    """Return TensorFlow's name of the nth layer of a kind."""
    return f"{kind}_{index}" if index else kind
