"""Fan-out: the same kernel over the same files in a bare pool of processes, and through Backline."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

from tests.benchmarks.figures import Figure, spread
from tests.benchmarks.kernel import content_hash, write_track
from tests.benchmarks.meters import cpu_seconds
from tests.benchmarks.stage import PROCESSES, Stage

TITLES = (
    *("harbour", "embers", "turnpike", "nightbus", "orchard", "lighthouse"),
    *("carousel", "static", "meadow", "cinder", "skyline", "hollow"),
)
SUFFIXES = ("wav", "flac")


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """One turn of each, in seconds."""

    bare: float
    backline: float
    busy: float  # of Backline's processes together
    bare_cpu: float
    backline_cpu: float  # of workers and servers

    @property
    def efficiency(self) -> float:
        return self.bare / self.backline

    @property
    def occupancy(self) -> float:
        """The share of Backline's time in which its processes worked."""
        return self.busy / (PROCESSES * self.backline)

    @property
    def cpu_efficiency(self) -> float:
        """The same in processor time, which others who use the machine change far less."""
        return self.bare_cpu / self.backline_cpu


def measure(stage: Stage, *, is_short: bool) -> list[Figure]:
    """Return Backline's efficiency beside the bare pool's."""
    titles, files, seconds, turns = (TITLES[:4], 8, 30.0, 1) if is_short else (TITLES, 120, 240.0, 3)
    with _bare_pool() as pool:
        tracks = _write_tracks(pool, stage.folder / "music", titles, seconds)
        stage.start(*stage.crew)
        _bare_seconds(pool, tracks)
        _backline(stage, tracks)  # from here on its pace is known
        chosen = list(islice(cycle(tracks), files))
        pairs = [_pair(stage, pool, chosen) for _ in range(turns)]
    return _figures(pairs, f"{files} files of {seconds:g} s")


def _figures(pairs: Sequence[_Pair], what: str) -> list[Figure]:
    bare, backline = spread([pair.bare for pair in pairs]), spread([pair.backline for pair in pairs])
    efficiencies = [pair.efficiency for pair in pairs]
    spent = [pair.cpu_efficiency for pair in pairs]
    return [
        Figure(
            name="fan-out efficiency",
            value=median(efficiencies),
            unit="",
            at_least=0.95,
            note=f"{what}: {spread(efficiencies)}; bare pool {bare} s, Backline {backline} s",
        ),
        Figure(
            name="fan-out: processor time, bare / Backline",
            value=median(spent),
            unit="",
            note=f"{spread(spent)}; workers and servers together",
        ),
        Figure(
            name="fan-out: share of time at work",
            value=median(pair.occupancy for pair in pairs),
            unit="",
            note="busy seconds / (processes x wall seconds): the rest is start, end and idle processes",
        ),
    ]


def _pair(stage: Stage, pool: ProcessPoolExecutor, tracks: Sequence[Path]) -> _Pair:
    with stage.paused():
        before = _pool_cpu()
        bare = _bare_seconds(pool, tracks)
        bare_cpu = _pool_cpu() - before
    before = sum(stage.cpu().values())
    backline, busy = _backline(stage, tracks)
    backline_cpu = sum(stage.cpu().values()) - before
    return _Pair(bare=bare, backline=backline, busy=busy, bare_cpu=bare_cpu, backline_cpu=backline_cpu)


def _pool_cpu() -> float:
    pids = [process.pid for process in multiprocessing.active_children()]
    return sum(cpu_seconds(pid) for pid in pids if pid is not None)


def _backline(stage: Stage, tracks: Sequence[Path]) -> tuple[float, float]:
    """Return the wall time of one job over these files, and its workers' busy time."""
    # Ids of their own, for a file may come up more than once; `force`, for its content is known by then.
    named = [{"trackId": f"track {n}", "path": str(path)} for n, path in enumerate(tracks)]
    job, seconds = stage.run("audio_features", tracks=named, force=True)
    return seconds, job.progress.busy_seconds


def _bare_seconds(pool: ProcessPoolExecutor, tracks: Sequence[Path]) -> float:
    started = time.perf_counter()
    hashes = list(pool.map(content_hash, tracks))
    assert all(hashes)
    return time.perf_counter() - started


@contextmanager
def _bare_pool() -> Iterator[ProcessPoolExecutor]:
    """Give a pool of fresh processes: forked ones would share this one's database threads."""
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def _write_tracks(pool: ProcessPoolExecutor, folder: Path, titles: Sequence[str], seconds: float) -> list[Path]:
    folder.mkdir()
    tracks = [folder / f"{title}.{suffix}" for title, suffix in zip(titles, cycle(SUFFIXES), strict=False)]
    list(pool.map(write_track, tracks, titles, [seconds] * len(tracks)))
    return tracks
