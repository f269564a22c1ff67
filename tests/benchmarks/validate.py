"""`make bench-validate`: validation beside a bare scan of the same documents, its memory, and what it costs others."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from shared.model import Db
from shared.store.id_ranges import collections_of
from tests.benchmarks.meters import forget_peak, peak_bytes
from tests.benchmarks.stage import Stage, staged
from tests.database_faults import make_clean
from tests.waiting import wait_until
from workers.database.schema import FORMS

SMALL, LARGE = 20_000, 200_000
READS_SECONDS = 5.0
READ_PAUSE = 0.005
RUNS = 3
MB = 1e6


def scan(db: Db) -> int:
    """Read every document of every collection as a bare program would, of known forms their fields alone."""
    documents = 0
    for name in collections_of(db):
        form = FORMS.get(name)
        fields = dict.fromkeys(form.fields, 1) if form is not None and not form.is_open else None
        documents += sum(1 for _ in db[name].find({}, fields))
    return documents


def scan_whole(db: Db) -> int:
    """Read every document as a whole."""
    return sum(1 for name in collections_of(db) for _ in db[name].find({}))


def timed(what: Any) -> tuple[int, float]:
    started = time.monotonic()
    found = what()
    return found, time.monotonic() - started


def reads(db: Db, keys: list[dict[str, str]], until: Any) -> Iterator[float]:
    """Yield the milliseconds of point reads, one every few of them, until `until()` is true."""
    chance = random.Random(1)
    while not until():
        started = time.monotonic()
        db["audio_features"].find_one(chance.choice(keys), {"tempo": 1})
        yield (time.monotonic() - started) * 1000
        time.sleep(READ_PAUSE)


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def peak_of_workers(stage: Stage) -> float:
    return max(peak_bytes(pid) for pid in stage.machine.heavy.children()) / MB


def measure(stage: Stage, documents: int) -> dict[str, float]:
    """Return the figures of a database of so many documents."""
    stage.clear()
    make_clean(stage.db, documents=documents)
    keys = [
        {"userId": one["userId"], "trackId": one["trackId"]} for one in stage.db["audio_features"].find().limit(2000)
    ]
    stage.start(*stage.crew)
    with stage.paused():
        bare = min((timed(lambda: scan(stage.db)) for _ in range(RUNS)), key=lambda one: one[1])
        whole = min((timed(lambda: scan_whole(stage.db)) for _ in range(RUNS)), key=lambda one: one[1])
        over = time.monotonic() + READS_SECONDS
        idle = p95(list(reads(stage.db, keys, lambda: time.monotonic() > over)))
    rates = []
    for pid in stage.machine.heavy.children():
        forget_peak(pid)
    for _ in range(RUNS):
        job, _ = stage.run("database_validate", seconds_max=900)
        assert job.summary is not None
        assert job.summary["totalIssues"] == 0, job.summary
        rates.append(job.summary["documentsPerSecond"])
    job_id = stage.submit("database_validate").id
    during = p95(list(reads(stage.db, keys, lambda: stage.job(job_id).status.is_final)))
    wait_until(lambda: stage.job(job_id).status.is_final, what="the end")
    return {
        "documents": float(bare[0]),
        "bare scan, documents/s": bare[0] / bare[1],
        "bare scan of whole documents, documents/s": whole[0] / whole[1],
        "validation, documents/s": max(rates),
        "ratio": max(rates) / (bare[0] / bare[1]),
        "ratio to whole documents": max(rates) / (whole[0] / whole[1]),
        "peak of a worker process, MB": peak_of_workers(stage),
        "p95 of point reads idle, ms": idle,
        "p95 of point reads during validation, ms": during,
        "ratio of p95": during / idle,
    }


def main() -> None:
    sizes = [int(one) for one in sys.argv[1:]] or [SMALL, LARGE]
    for size in sizes:
        with staged() as stage:
            print(f"{size:,} documents", flush=True)
            for name, value in measure(stage, size).items():
                print(f"  {name}: {value:,.2f}", flush=True)


if __name__ == "__main__":
    main()
