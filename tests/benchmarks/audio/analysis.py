"""Running the kernel, and the peers, over files."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.benchmarks.audio.scoring import Answer
from tests.benchmarks.kernel import analyse
from workers.audio.decode import open_audio
from workers.audio.features import Effort, Estimate

PEER_SECONDS = 60.0  # for one file: Essentia hangs on some


@dataclass(frozen=True, kw_only=True)
class Run:
    """One file analysed."""

    answer: Answer
    cpu: float  # seconds
    values: dict[str, float | None]  # every feature


def run(path: Path, effort: Effort = Effort.FULL) -> Run:
    """Analyse a file and note the processor time."""
    started = time.process_time()
    _, features = analyse(path, effort)
    cpu = time.process_time() - started
    estimates = {name: one for name in features.__slots__ if isinstance(one := getattr(features, name), Estimate)}
    return Run(
        answer=Answer(
            tempo=features.tempo.value,
            tempo_alternative=features.tempo_alternative.value,
            key=_whole(features.key),
            mode=_whole(features.mode),
            metre=_whole(features.time_signature),
            confidence={name: one.confidence for name, one in estimates.items()},
        ),
        cpu=cpu,
        values={name: one.value for name, one in estimates.items()},
    )


def decoding_seconds(path: Path) -> float:
    """Return the processor time that it takes to decode a file and do no more."""
    started = time.process_time()
    with open_audio(path) as stream:
        for _ in stream.blocks():
            pass
    return time.process_time() - started


def _whole(estimate: Estimate) -> int | None:
    return None if estimate.value is None else int(estimate.value)


def run_all(paths: Sequence[Path], effort: Effort = Effort.FULL) -> list[Run]:
    """Analyse files in as many processes as there are cores."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(run, effort=effort), paths))


@dataclass(frozen=True, kw_only=True)
class PeerRun:
    """One file analysed by somebody else's program."""

    answer: Answer
    cpu: float | None  # seconds, None where it failed
    peak_bytes: int | None = None


def run_peer(python: Path, peer: str, paths: Sequence[Path]) -> list[PeerRun]:
    """Analyse files with a peer; one that crashes or hangs costs only the file at hand."""
    found: list[PeerRun] = []
    while len(found) < len(paths):
        with closing(_rows(python, peer, paths[len(found) :])) as rows:
            for row in rows:
                found.append(row)
        if len(found) < len(paths):
            found.append(PeerRun(answer=Answer(), cpu=None))
    return found


def _rows(python: Path, peer: str, paths: Sequence[Path]) -> Generator[PeerRun]:
    script = Path(__file__).with_name("peers.py")
    command = [str(python), str(script), peer, *map(str, paths)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = {**os.environ, **single}
    with subprocess.Popen(
        command, text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while line := _next_line(process):
                row = json.loads(line)
                answer = Answer(tempo=row.get("tempo"), key=row.get("key"), mode=row.get("mode"))
                yield PeerRun(answer=answer, cpu=None if "error" in row else row["cpu"], peak_bytes=row["peakBytes"])
        finally:
            process.kill()


def _next_line(process: subprocess.Popen[str]) -> str:
    """Return the next line, empty at the end or where the process took too long and was ended."""
    watchdog = threading.Timer(PEER_SECONDS, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        return process.stdout.readline()
    finally:
        watchdog.cancel()
