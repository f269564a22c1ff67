"""What one worker process counts, into files that outlive it; nothing at all where nobody has asked for it."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram

from shared.items import ItemStatus
from shared.store.job_record import JobRecord
from shared.store.outcomes import StoredItem
from workers.exposition import count_into

CHUNK_SECONDS = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
STORE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
CALL_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
JOB_SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)

FAULTS = frozenset(("poison", "timed_out", "out_of_memory", "unexpected", "gave_up", "no_outcome"))
"""The codes of items that failed through the engine; a kind's own are as many as it likes, so they are no label."""


class _Numbers:
    """The counters of this process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.items = Counter("backline_items", "Items by outcome", ("kind", "status"), registry=registry)
        self.faults = Counter(
            "backline_item_faults", "Items that failed by no code of their kind", ("kind", "fault"), registry=registry
        )
        self.chunk_seconds = Histogram(
            "backline_chunk_seconds", "Work on a chunk", ("kind",), buckets=CHUNK_SECONDS, registry=registry
        )
        self.chunks = Counter(
            "backline_chunks", "Chunks by what happened to them", ("kind", "event"), registry=registry
        )
        self.store_seconds = Histogram(
            "backline_store_seconds", "Steps of a chunk", ("step",), buckets=STORE_SECONDS, registry=registry
        )
        self.jobs = Counter("backline_jobs_ended", "Jobs by how they ended", ("kind", "status"), registry=registry)
        self.job_seconds = Histogram(
            "backline_job_seconds", "From submission to end", ("kind",), buckets=JOB_SECONDS, registry=registry
        )
        self.calls = Counter(
            "backline_provider_calls",
            "Calls to providers by how they ended, and those that were not made",
            ("provider", "endpoint", "outcome"),
            registry=registry,
        )
        self.call_seconds = Histogram(
            "backline_provider_call_seconds",
            "Time of a call to a provider",
            ("provider", "endpoint"),
            buckets=CALL_SECONDS,
            registry=registry,
        )
        self.reaper = Counter("backline_reaper_actions", "What the reaper did", ("action",), registry=registry)
        self.outages = Counter(
            "backline_store_outages", "Tasks that ended early because MongoDB failed", registry=registry
        )


_numbers: _Numbers | None = None


def begin(folder: Path, place: str) -> None:
    """Count from now on, into files of `folder` that bear the name of this process's place in its pool."""
    global _numbers
    count_into(folder, place)
    _numbers = _Numbers()


def end() -> None:
    """Count no more."""
    global _numbers
    _numbers = None


def chunk_recorded(kind: str, tally: Mapping[ItemStatus, int], items: Sequence[StoredItem], seconds: float) -> None:
    """Count a chunk that got its outcome."""
    if _numbers is None:
        return
    _numbers.chunk_seconds.labels(kind).observe(seconds)
    for status, count in tally.items():
        _numbers.items.labels(kind, status.value).inc(count)
    if tally.get(ItemStatus.FAILED):
        for fault, count in Tally(item.error.code for item in items if item.error is not None).items():
            if fault in FAULTS:
                _numbers.faults.labels(kind, fault).inc(count)


TAKEN_OVER, LEASE_LOST, GIVEN_BACK, PARKED, BROKE_OFF, GIVEN_UP = (
    *("taken_over", "lease_lost", "given_back", "parked"),
    *("broke_off", "given_up"),
)
"""What may happen to a chunk: its owner fell silent, or noticed so; it stopped half way; it waits for a budget or a
time; its kind failed, so it is tried again, or not any more."""


def chunk_met(kind: str, event: str) -> None:
    """Count something that happened to a chunk."""
    if _numbers is not None:
        _numbers.chunks.labels(kind, event).inc()


CLAIM, MERGE, RECORD, RING = "claim", "merge", "record", "ring"


@contextmanager
def timing(step: str) -> Iterator[None]:
    """Time a step of a chunk that MongoDB has the larger part in, or Redis where it rings."""
    if _numbers is None:
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        _numbers.store_seconds.labels(step).observe(time.perf_counter() - started)


def provider_called(provider: str, endpoint: str, outcome: str, seconds: float | None) -> None:
    """Count a call to a provider, or one that was held back, which took no time there."""
    if _numbers is None:
        return
    _numbers.calls.labels(provider, endpoint, outcome).inc()
    if seconds is not None:
        _numbers.call_seconds.labels(provider, endpoint).observe(seconds)


def job_ended(job: JobRecord, status: str, seconds: float) -> None:
    """Count a job that ended."""
    if _numbers is not None:
        _numbers.jobs.labels(job.kind, status).inc()
        _numbers.job_seconds.labels(job.kind).observe(seconds)


LOOKED, FREED, RANG_CHUNKS, RANG_JOBS, RESCUED_PLAN = (
    *("looked", "freed_process", "rang_chunks"),
    *("rang_jobs", "rescued_plan"),
)


def reaper_did(action: str, times: int = 1) -> None:
    """Count what the reaper found to do; `LOOKED` each time that it ran."""
    if _numbers is not None and times:
        _numbers.reaper.labels(action).inc(times)


def store_failed() -> None:
    """Count a task that MongoDB let down."""
    if _numbers is not None:
        _numbers.outages.inc()
