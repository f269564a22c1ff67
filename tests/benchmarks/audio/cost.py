"""Processor time and memory of a three-minute track, by format, beside the peers."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.benchmarks.audio import encoding
from tests.benchmarks.audio.accuracy import PEERS
from tests.benchmarks.audio.analysis import run, run_peer
from tests.benchmarks.figures import Figure, spread

SECONDS = 180
RATE = 44100
TURNS = 5
GOALS = {"mp3": 0.40}
MEMORY_MB = 200.0


def measure(recordings: Sequence[Path], peers: Path | None) -> list[Figure]:
    """Return processor seconds by format and peak memory, for three minutes of recorded stereo music."""
    with TemporaryDirectory(prefix="bench-audio-") as name:
        tracks = _encode(_three_minutes(recordings), Path(name))
        figures = [figure for suffix, path in tracks.items() for figure in _of_format(suffix, path)]
        for peer in PEERS if peers else ():
            assert peers is not None
            runs = run_peer(peers, peer, [tracks["mp3"]] * 3)
            seconds = [one.cpu for one in runs if one.cpu is not None]
            figures.append(Figure(name=f"{peer}: processor time, 3 min mp3", value=median(seconds), unit="s"))
            peak = max(one.peak_bytes or 0 for one in runs) / 1e6
            figures.append(Figure(name=f"{peer}: peak memory, 3 min mp3", value=peak, unit="MB"))
    return figures


def _of_format(suffix: str, path: Path) -> Iterator[Figure]:
    # A process of its own, so that its memory is that of one format.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        seconds = [one.cpu for one in pool.map(run, [path] * (TURNS + 1))][1:]
        peak = pool.submit(_peak_mb).result()
    speed = SECONDS / median(seconds)
    yield Figure(
        name=f"processor time, 3 min {suffix}",
        value=median(seconds),
        unit="s",
        at_most=GOALS.get(suffix),
        note=f"{spread(seconds)}; {speed:.0f} x real time",
    )
    yield Figure(name=f"peak memory, 3 min {suffix}", value=peak, unit="MB", at_most=MEMORY_MB)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _three_minutes(recordings: Sequence[Path]) -> NDArray[np.float32]:
    """Return three minutes of stereo out of the first recordings that have them."""
    for path in recordings:
        samples, rate = soundfile.read(path, frames=SECONDS * RATE, dtype="float32", always_2d=True)
        if rate == RATE and samples.shape == (SECONDS * RATE, 2):
            return cast(NDArray[np.float32], samples)
    raise ValueError("no recording of three minutes in stereo at 44.1 kHz")


def _encode(samples: NDArray[np.float32], folder: Path) -> dict[str, Path]:
    tracks = {suffix: folder / f"track.{suffix}" for suffix in encoding.SUFFIXES}
    for path in tracks.values():
        encoding.write(path, samples, RATE)
    return tracks
