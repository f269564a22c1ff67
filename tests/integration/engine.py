"""The engine's steps called in this process, one after the other, on real servers: no Celery, no chance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.broker import Queue
from shared.jobs import get_kind
from shared.lifecycle import submit, validate_request
from shared.model import Db
from shared.pages import items_page
from shared.settings import Settings
from shared.store import chunks, jobs, slots
from shared.store.job_record import JobRecord
from shared.store.outcomes import StoredItem
from shared.store.slots import Slot
from workers.engine.finishing import finish
from workers.engine.heartbeat import Heartbeat
from workers.engine.planning import plan
from workers.engine.process import WorkerProcess
from workers.engine.running import run

STEPS_MAX = 10_000


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One worker process's worth of the engine, driven by hand."""

    db: Db
    settings: Settings
    process: WorkerProcess
    heartbeat: Heartbeat

    def submit(self, kind: str, **request: Any) -> JobRecord:
        """Store a job."""
        form = get_kind(kind)
        job, _ = submit(self.db, form, validate_request(form, request))
        return job

    def submit_for(self, owner: str, kind: str, **request: Any) -> JobRecord:
        """Store a job of an owner."""
        form = get_kind(kind)
        job, _ = submit(self.db, form, validate_request(form, request), owner=owner)
        return job

    def plan(self, job_id: str, *, is_counting: bool = False) -> None:
        plan(job_id, self.process, self.heartbeat, is_counting=is_counting)

    def run(self) -> None:
        """Take one chunk of each queue that heavy work waits in."""
        for queue in (Queue.CPU, Queue.INDEX, Queue.IO, Queue.BULK):
            run(queue, self.process, self.heartbeat)

    def finish(self, job_id: str) -> None:
        finish(job_id, self.process)

    def job(self, job_id: str) -> JobRecord:
        return jobs.get(self.db, job_id)

    def live(self, job_id: str) -> int:
        """Return how many chunks of the job have no outcome."""
        return self.db[chunks.COLLECTION].count_documents({"jobId": job_id})

    def turn(self, job_id: str, times: int) -> JobRecord:
        """Plan, run and finish so many times, whether the job ends or not."""
        for _ in range(times):
            self.plan(job_id)
            self.run()
            self.finish(job_id)
        return self.job(job_id)

    def drive(self, job_id: str) -> JobRecord:
        """Plan, run and finish until the job has ended."""
        for _ in range(STEPS_MAX):
            job = self.job(job_id)
            if job.status.is_final:
                return job
            self.plan(job_id)
            while self.live(job_id):
                self.run()
            self.finish(job_id)
        raise AssertionError(f"{job_id} did not end")

    def items(self, job_id: str) -> list[StoredItem]:
        """Return all items through the pages that clients read."""
        found: list[StoredItem] = []
        cursor: str | None = None
        while True:
            page = items_page(self.db, self.job(job_id), after=cursor, limit=7, settings=self.settings)
            found += page.items
            cursor = page.cursor
            if cursor is None or not (page.items or self.job(job_id).status.is_final):
                return found

    def show_slot(self, slot: Slot) -> None:
        slots.save(self.db, slot)


@contextmanager
def engine_on(db: Db, settings: Settings) -> Iterator[Engine]:
    """Yield an engine with a beating heart."""
    process = WorkerProcess(db=db, settings=settings, queues=(Queue.CPU,))
    heartbeat = Heartbeat(process)
    heartbeat.start()
    try:
        yield Engine(db=db, settings=settings, process=process, heartbeat=heartbeat)
    finally:
        heartbeat.stop()
