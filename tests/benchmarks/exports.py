"""How fast a library leaves and comes back in each format, and whether a worker's memory depends on how large it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import pymongo

from shared.model import Json
from shared.store.database import ensure_library_indexes
from shared.store.job_record import JobRecord
from tests.benchmarks.figures import Figure
from tests.benchmarks.meters import forget_peak, peak_bytes
from tests.benchmarks.stage import Stage

DOCUMENTS = (20_000, 200_000)
SHORT = (300, 1_200)
WARMING = 200
"""Documents that each format is tried with first: what a worker holds after its first Parquet, some 40 MB, it holds for
good. From then on peaks are alike at 20,000, 200,000 and 600,000 documents (229, 236, 231 MB when this was tried)."""
BATCH = 1_000
SECONDS_MAX = 900.0
CLEAR_SECONDS = 600.0
"""Dropping a large collection takes the embedded server longer than any operation of ours may."""
MB = 1e6
COLLECTION = "audio_features"
FORMS = (("json", "none"), ("jsonl", "gzip"), ("csv", "gzip"), ("parquet", "zstd"))
"""Each format as it is usually asked for."""
NAMES = ("danceability", "energy", "speechiness", "acousticness", "instrumentalness", "liveness", "valence")

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a job took."""

    seconds: float
    peak: int  # bytes, of the worker process that held most


def measure(stage: Stage, *, is_short: bool) -> list[Figure]:
    """Return documents a second out and in by format, and the peak memory of the large library beside the small one."""
    sizes = SHORT if is_short else DOCUMENTS
    stage.start(*stage.crew)
    _runs(stage, WARMING)  # else the small library alone is measured before Arrow is loaded and has its pool
    small, large = (_runs(stage, size) for size in sizes)
    return [figure for name in large for figure in _figures(name, small[name], large[name], sizes)]


def _figures(name: str, small: Run, large: Run, sizes: tuple[int, int]) -> list[Figure]:
    rates = tuple(count / run.seconds for count, run in zip(sizes, (small, large), strict=True))
    return [
        Figure(
            name=f"{name}: documents",
            value=rates[1],
            unit="1/s",
            note=f"{large.seconds:.1f} s for {sizes[1]:,}; {rates[0]:,.0f}/s of {sizes[0]:,}",
        ),
        Figure(
            name=f"{name}: worker's peak memory, large / small",
            value=large.peak / small.peak,
            unit="",
            at_most=1.2,
            note=f"{large.peak / MB:.0f} MB / {small.peak / MB:.0f} MB",
        ),
    ]


def _runs(stage: Stage, count: int) -> dict[str, Run]:
    """Export a library in each format, and import it again where that is possible."""
    _fill(stage, count)
    found: dict[str, Run] = {}
    artifacts: dict[str, str] = {}
    for form, compression in FORMS:
        request: Json = {"format": form, "collections": [COLLECTION], "options": {"compression": compression}}
        job, found[f"export {form}"] = _run(stage, "data_export", **request)
        assert job.summary is not None
        assert job.summary["rows"] == count
        artifacts[form] = job.summary["files"][0]["artifactId"]
    for form in ("jsonl", "csv", "parquet"):
        _clear(stage)
        source = {"collection": COLLECTION, "format": form, "artifactId": artifacts[form]}
        job, found[f"import {form}"] = _run(stage, "data_import", **source)
        assert job.summary is not None
        assert job.summary["imported"] == count
    return found


def _run(stage: Stage, kind: str, **request: Any) -> tuple[JobRecord, Run]:
    _each(stage, forget_peak)
    job, seconds = stage.run(kind, seconds_max=SECONDS_MAX, **request)
    return job, Run(seconds=seconds, peak=max(_each(stage, peak_bytes)))


def _each(stage: Stage, look: Callable[[int], T]) -> list[T]:
    return [look(pid) for pid in stage.machine.heavy.children()]


def _fill(stage: Stage, count: int) -> None:
    chance = random.Random(count)
    _clear(stage)
    for start in range(0, count, BATCH):
        stop = min(start + BATCH, count)
        stage.db[COLLECTION].insert_many([_features(number, chance) for number in range(start, stop)])


def _clear(stage: Stage) -> None:
    with pymongo.timeout(CLEAR_SECONDS):
        stage.db.drop_collection(COLLECTION)
        ensure_library_indexes(stage.db)


def _features(number: int, chance: random.Random) -> Json:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    return {
        "userId": f"user{number % 100}",
        "trackId": f"track{number}",
        **{name: round(chance.random(), 4) for name in NAMES},
        "key": chance.randrange(-1, 12),
        "mode": chance.randrange(2),
        "tempo": round(chance.uniform(60, 200), 3),
        "loudness": round(chance.uniform(-40, 0), 3),
        "time_signature": 4,
        "createdAt": moment,
        "updatedAt": moment,
    }
