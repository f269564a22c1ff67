"""A machine with the default settings, and what every benchmark does with it: submit, wait, pause, measure."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from shared import broker, lifecycle
from shared.broker import Queue
from shared.jobs import get_kind
from shared.model import Db
from shared.settings import get_settings
from shared.store import jobs, slots
from shared.store.database import connect, ensure_indexes
from shared.store.job_record import JobRecord, JobStatus
from tests.benchmarks.meters import CpuSeconds, cpu_seconds
from tests.machine import Machine, Part
from tests.waiting import wait_until

PROCESSES = 2
JOB_SECONDS_MAX = 300.0


class JobWentWrong(Exception):
    """A job of a benchmark did not succeed, so its figures would mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The machine, its database and its Redis; its servers run, and whatever else a benchmark has started."""

    machine: Machine
    folder: Path
    db: Db
    valkey: redis.Redis

    @property
    def crew(self) -> tuple[Part, ...]:
        """All that does the work: one beat, as the stack has it, where the tests of faults need two."""
        return (self.machine.heavy, self.machine.control, self.machine.beats[0])

    def start(self, *parts: Part) -> None:
        """Start these parts and wait until their processes have said that they live."""
        for part in parts:
            part.start()
        wait_until(lambda: self._is_staffed(parts), seconds=60, what="the workers' start")

    def _is_staffed(self, parts: tuple[Part, ...]) -> bool:
        alive = slots.count_by_queue(self.db)
        is_heavy_ready = self.machine.heavy not in parts or alive[Queue.CPU] >= PROCESSES
        return is_heavy_ready and (self.machine.control not in parts or alive[Queue.CONTROL] >= 1)

    def submit(self, kind: str, **request: Any) -> JobRecord:
        """Store a job and ring for it, as the front door does."""
        form = get_kind(kind)
        job, _ = lifecycle.submit(self.db, form, lifecycle.validate_request(form, request))
        broker.ring_plan([job.id])
        return job

    def run(self, kind: str, *, seconds_max: float = JOB_SECONDS_MAX, **request: Any) -> tuple[JobRecord, float]:
        """Run a job to its good end; return it, and the seconds between its submission and its end."""
        job_id = self.submit(kind, **request).id
        wait_until(lambda: self.job(job_id).status.is_final, seconds=seconds_max, what=f"the end of {job_id}")
        job = self.job(job_id)
        if job.status is not JobStatus.SUCCEEDED or job.finished_at is None:
            raise JobWentWrong(f"{job_id} ended {job.status}: {job.error}, {job.progress}")
        return job, (job.finished_at - job.created_at).total_seconds()

    def cancel(self, job_id: str) -> None:
        """End a job that nobody works on, and forget the messages that it left behind."""
        lifecycle.cancel(self.db, job_id)
        broker.ring_finish(job_id)
        wait_until(lambda: self.job(job_id).status.is_final, what=f"the end of {job_id}")
        self.valkey.flushall()

    def clear(self) -> None:
        """Delete every job and every message; only while no worker runs."""
        self.valkey.flushall()
        self.db.client.drop_database(self.db.name)
        ensure_indexes(self.db)

    def job(self, job_id: str) -> JobRecord:
        return jobs.get(self.db, job_id)

    def cpu(self) -> CpuSeconds:
        """Return the processor time of each part that runs."""
        parts = (*self.crew, self.machine.servers.mongo, self.machine.servers.valkey)
        return {part.name: cpu_seconds(part.pid) for part in parts}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the workers and the beats inside the block, so that even their idling costs nothing."""
        pids = [pid for part in self.crew for pid in (part.pid, *part.children())]
        _signal(pids, signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)
        resumed_at = time.time()
        wait_until(
            lambda: (
                all(slot.seen_at.timestamp() > resumed_at for slot in slots.find_alive(self.db))
                and self._is_staffed(self.crew)
            ),
            what="the workers' return",
        )


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def staged() -> Iterator[Stage]:
    """Give a machine whose servers run, in a folder of its own, and end everything afterwards.

    Its workers and beats are started by whoever needs them, with the default settings.
    """
    with TemporaryDirectory(prefix="backline-bench-") as name:
        folder = Path(name).resolve()
        machine = Machine(folder, {"BACKLINE_MUSIC_ROOTS": str(folder)}, processes=PROCESSES)
        with _settings_of(machine.heavy):
            try:
                machine.servers.start()
                yield from _opened(machine, folder)
            finally:
                _stop(machine)


def _opened(machine: Machine, folder: Path) -> Iterator[Stage]:
    db = connect(get_settings())
    ensure_indexes(db)
    with db.client, redis.Redis.from_url(machine.servers.redis_url) as valkey:
        yield Stage(machine=machine, folder=folder, db=db, valkey=valkey)
        broker.celery_app().close()


def _stop(machine: Machine) -> None:
    """Ask the workers to end before the rest is ended: a killed one leaves its children behind for a moment."""
    running = [part for part in machine.workers if part.is_alive]
    with ThreadPoolExecutor() as together:
        list(together.map(Part.terminate, running))
    machine.stop()


@contextmanager
def _settings_of(part: Part) -> Iterator[None]:
    """Give this process the settings of a part inside the block."""
    before = dict(os.environ)
    os.environ.update(part.environment)
    _forget_settings()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _forget_settings()


def _forget_settings() -> None:
    get_settings.cache_clear()
    broker.celery_app.cache_clear()
