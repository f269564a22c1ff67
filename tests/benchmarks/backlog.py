"""The backlog: what Redis and the planner hold for a small and for a large job that nobody works on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from shared.broker import Queue
from shared.settings import get_settings
from tests.benchmarks.figures import Figure, shown
from tests.benchmarks.meters import forget_peak, peak_bytes
from tests.benchmarks.stage import Stage
from tests.waiting import wait_until

ITEMS_A_CHUNK = 10
COUNT_SECONDS_MAX = 60.0
MEGABYTE = 1e6
EQUAL = 1.05  # what is measured includes the servers' own buffers, which come and go


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What a job of so many items takes while it waits."""

    items: int
    count_seconds: float  # until every item was counted
    redis_bytes: int  # in use, the server's own included
    redis_bytes_before: int
    keys: int
    messages: int  # in all queues
    peak_bytes: int  # the planner's

    @property
    def chunks(self) -> int:
        return self.items // ITEMS_A_CHUNK

    @property
    def note(self) -> str:
        return (
            f"{self.chunks:,} chunks: {self.redis_bytes:,} bytes ({self.redis_bytes - self.redis_bytes_before:+,}),"
            f" {self.keys} keys, {self.messages} messages"
        )


def measure(stage: Stage, *, is_short: bool) -> list[Figure]:
    """Return how the large job compares with the small one, on a machine that has no worker for either."""
    stage.start(stage.machine.control, stage.machine.beats[0])
    settle_seconds = 1.0 if is_short else 3 * get_settings().reap_seconds
    small = _backlog(stage, 1_000 if is_short else 10_000, settle_seconds)
    large = _backlog(stage, 100_000 if is_short else 1_000_000, settle_seconds)
    peaks = (
        f"{shown(small.peak_bytes / MEGABYTE)} MB for {small.items:,} items, {shown(large.peak_bytes / MEGABYTE)} MB"
    )
    return [
        Figure(
            name="Redis memory, large / small backlog",
            value=large.redis_bytes / small.redis_bytes,
            unit="",
            at_most=EQUAL,
            note=f"{small.note}; {large.note}",
        ),
        Figure(
            name="Redis messages, large / small backlog",
            value=large.messages / small.messages,
            unit="",
            at_most=1,
            note=f"{large.messages} / {small.messages} messages",
        ),
        Figure(
            name="planner's peak memory, large / small job",
            value=large.peak_bytes / small.peak_bytes,
            unit="",
            at_most=EQUAL,
            note=f"{peaks} for {large.items:,}",
        ),
        Figure(name="counting the large job", value=large.count_seconds, unit="s", note=f"{large.items:,} items"),
    ]


def _backlog(stage: Stage, items: int, settle_seconds: float) -> Backlog:
    """Plan a job, let the reaper have its turns, look, and cancel the job."""
    planners = stage.machine.control.children()
    for pid in planners:
        forget_peak(pid)
    before, started = _redis_bytes(stage), time.monotonic()
    job_id = stage.submit("noop", items=items).id
    wait_until(lambda: stage.job(job_id).plan.counted_all, seconds=COUNT_SECONDS_MAX, what=f"the count of {job_id}")
    count_seconds = time.monotonic() - started
    time.sleep(settle_seconds)
    assert stage.machine.control.children() == planners, "the planner was replaced, so its peak is not known"
    found = Backlog(
        items=items,
        count_seconds=count_seconds,
        redis_bytes=_redis_bytes(stage),
        redis_bytes_before=before,
        keys=int(stage.valkey.dbsize()),
        messages=sum(int(stage.valkey.llen(queue.value)) for queue in Queue),
        peak_bytes=max(peak_bytes(pid) for pid in planners),
    )
    stage.cancel(job_id)
    return found


def _redis_bytes(stage: Stage) -> int:
    return int(stage.valkey.info("memory")["used_memory"])
