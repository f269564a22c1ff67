"""Audio material shared by the tests: made here, never recorded."""

from pathlib import Path
from typing import Protocol

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from workers.audio.instruments import RATE
from workers.audio.synthesis import DemoTrack, render_demo, write_demo_tracks

Floats = NDArray[np.float32]


class Writer(Protocol):
    """Write samples in the format that the name's suffix asks for."""

    def __call__(self, name: str, samples: Floats, rate: int = ...) -> Path: ...


@pytest.fixture(scope="session")
def music() -> Floats:
    """Twelve seconds of G major at 140 BPM, shape (frames, 2), at 44.1 kHz."""
    return render_demo("turnpike", seconds=12)[: 12 * RATE]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[DemoTrack]]:
    """The dozen demo tracks and their truth."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, write_demo_tracks(folder)


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Write samples in the format that the name's suffix asks for."""

    def writer(name: str, samples: Floats, rate: int = RATE) -> Path:
        path = tmp_path / name
        if path.suffix in (".opus", ".m4a", ".aac"):
            _encode(path, samples, rate)
        else:
            soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" and _hot(samples) else None)
        return path

    return writer


def _hot(samples: Floats) -> bool:
    return not np.all(np.abs(samples) <= 1)


def _encode(path: Path, samples: Floats, rate: int) -> None:
    codec = "libopus" if path.suffix == ".opus" else "aac"
    size = 960 if codec == "libopus" else 1024
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "stereo"
        for start in range(0, len(samples) - size, size):
            container.mux(stream.encode(_frame(samples[start : start + size], codec, rate, start)))
        container.mux(stream.encode(None))


def _frame(part: Floats, codec: str, rate: int, start: int) -> av.AudioFrame:
    if codec == "libopus":
        packed = (part * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout="stereo")
    else:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part.T), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = rate, start
    return frame
