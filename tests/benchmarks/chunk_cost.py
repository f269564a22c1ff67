"""What the engine itself costs: processor time per chunk of work that does nothing, by process."""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.benchmarks.figures import Figure
from tests.benchmarks.meters import CpuSeconds
from tests.benchmarks.stage import Stage

ITEMS_A_CHUNK = 10
GOALS_MS: Mapping[str, float] = {"heavy": 4.0, "mongo": 3.0, "valkey": 0.3}
NAMES: Mapping[str, str] = {
    "heavy": "heavy worker",
    "control": "control worker",
    "mongo": "MongoDB server",
    "valkey": "Valkey",
}
WARM_UP_CHUNKS = 50


def measure(stage: Stage, *, is_short: bool) -> list[Figure]:
    """Return the milliseconds of each process."""
    chunks = 150 if is_short else 2000
    stage.start(*stage.crew)
    stage.run("noop", items=WARM_UP_CHUNKS * ITEMS_A_CHUNK)
    spent, seconds = _spent(stage, chunks)
    idle = _idle(stage, seconds)
    return [
        Figure(
            name=f"CPU a chunk: {title}",
            value=max(spent[part] - idle[part], 0.0) * 1000 / chunks,
            unit="ms",
            at_most=GOALS_MS.get(part),
            note=f"{chunks:,} chunks in {seconds:.1f} s; {spent[part]:.2f} s less {idle[part]:.2f} s when idle",
        )
        for part, title in NAMES.items()
    ]


def _spent(stage: Stage, chunks: int) -> tuple[CpuSeconds, float]:
    """Return each part's processor time for a job of so many chunks, and how long that took."""
    before, started = stage.cpu(), time.monotonic()
    stage.run("noop", items=chunks * ITEMS_A_CHUNK)
    return _since(before, stage), time.monotonic() - started


def _idle(stage: Stage, seconds: float) -> CpuSeconds:
    """Return each part's processor time for as long with nothing to do."""
    before = stage.cpu()
    time.sleep(seconds)
    return _since(before, stage)


def _since(before: CpuSeconds, stage: Stage) -> CpuSeconds:
    return {part: seconds - before[part] for part, seconds in stage.cpu().items()}
