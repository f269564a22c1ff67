"""Processor time and memory of a three-minute track, by format, beside the peers."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.benchmarks.audio import encoding
from tests.benchmarks.audio.accuracy import PEERS
from tests.benchmarks.audio.analysis import decoding_seconds, run, run_peer
from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.meters import peak_bytes
from workers.audio.features import Effort

SECONDS = 180
RATE = 44100
TURNS = 5
MEMORY_MB = 200.0  # for the kernel without the models
MP3_GOALS = {Effort.STANDARD: 0.40, Effort.FULL: 0.75}


def measure(recordings: Sequence[Path], peers: Path | None) -> list[Figure]:
    """Return processor seconds and peak memory for three minutes of recorded stereo music.

    The MP3 is analysed at every effort, the other formats at the standard one: they differ in decoding alone.
    """
    with TemporaryDirectory(prefix="bench-audio-") as name:
        tracks = _encode(_three_minutes(recordings), Path(name))
        figures = [_of_decoding(tracks["mp3"])]
        figures += [figure for effort in Effort for figure in _of_track(tracks["mp3"], effort)]
        for suffix in encoding.SUFFIXES[1:]:
            figures += _of_track(tracks[suffix], Effort.STANDARD)
        if peers is not None:
            figures += [figure for peer in PEERS for figure in _of_peer(peers, peer, tracks["mp3"])]
    return figures


def _of_track(path: Path, effort: Effort) -> Iterator[Figure]:
    # A process of its own, so that its memory is that of one format and one effort.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        seconds = [one.cpu for one in pool.map(partial(run, effort=effort), [path] * (TURNS + 1))][1:]
        peak = pool.submit(_peak_mb).result()
    what = f"3 min {path.suffix[1:]}, {effort}"
    yield Figure(
        name=f"processor time, {what}",
        value=median(seconds),
        unit="s",
        at_most=MP3_GOALS.get(effort) if path.suffix == ".mp3" else None,
        note=f"{spread(seconds)}; {SECONDS / median(seconds):.0f} x real time",
    )
    if path.suffix == ".mp3":
        yield Figure(name=f"tracks a core-hour, {what}", value=round(3600 / median(seconds)), unit="")
    limit = None if effort is Effort.FULL else MEMORY_MB
    yield Figure(name=f"peak memory, {what}", value=peak, unit="MB", at_most=limit)


def _of_decoding(path: Path) -> Figure:
    seconds = [decoding_seconds(path) for _ in range(TURNS + 1)][1:]
    name = f"processor time, 3 min {path.suffix[1:]}, decoding alone"
    return Figure(name=name, value=median(seconds), unit="s", note=spread(seconds))


def _of_peer(python: Path, peer: str, track: Path) -> Iterator[Figure]:
    runs = run_peer(python, peer, [track] * 3)
    seconds = [one.cpu for one in runs if one.cpu is not None]
    yield Figure(name=f"{peer}: processor time, 3 min mp3", value=median(seconds), unit="s")
    yield Figure(name=f"{peer}: peak memory", value=max(one.peak_bytes or 0 for one in runs) / 1e6, unit="MB")


def _peak_mb() -> float:
    return peak_bytes(os.getpid()) / 1e6


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
