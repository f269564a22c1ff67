"""The five Celery tasks. Each is a doorbell: it looks up what is to be done, and calls one plain function."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shared.broker import Queue, Task, celery_app
from shared.store.database import StoreError
from workers import lifetime
from workers.engine import counting
from workers.engine.finishing import finish
from workers.engine.planning import plan
from workers.engine.reaping import reap
from workers.engine.running import run
from workers.engine.ticking import tick

logger = logging.getLogger(__name__)
app = celery_app()


@contextmanager
def _outages_end(task: Task) -> Iterator[None]:
    """Take an outage of MongoDB as a reason to end: the leases and the reaper bring the work back."""
    try:
        yield
    except StoreError as error:
        counting.store_failed()
        logger.warning("%s ends early, MongoDB did not do its part: %s", task, error)


@app.task(name=Task.PLAN.value)
def plan_jobs(job_ids: Sequence[str], is_counting: bool = False) -> None:
    """Lay out the next chunks of each job."""
    for job_id in job_ids:
        with _outages_end(Task.PLAN):
            plan(job_id, lifetime.process(), lifetime.heartbeat(), is_counting=is_counting)


@app.task(name=Task.RUN.value)
def run_chunk(queue: str) -> None:
    """Take one chunk from the queue."""
    with _outages_end(Task.RUN):
        run(Queue(queue), lifetime.process(), lifetime.heartbeat())


@app.task(name=Task.FINISH.value)
def finish_job(job_id: str) -> None:
    """Bring a job to its end."""
    with _outages_end(Task.FINISH):
        finish(job_id, lifetime.process())


@app.task(name=Task.REAP.value)
def reap_leftovers() -> None:
    """Ring again for what was left behind."""
    with _outages_end(Task.REAP):
        reap(lifetime.process())


@app.task(name=Task.TICK.value)
def tick_schedules() -> None:
    """Submit the jobs of the schedules that are due."""
    with _outages_end(Task.TICK):
        tick(lifetime.process())
