"""Tick: submit the jobs of the schedules that are due, each slot once, however many beats ring."""

from __future__ import annotations

import logging
from datetime import datetime

from shared.clock import now
from shared.errors import BacklineError
from shared.jobs import get_kind
from shared.lifecycle import submit, validate_request
from shared.store import schedules
from shared.store.schedules import Schedule
from shared.timing import next_slot
from workers.engine import doorbell
from workers.engine.process import WorkerProcess

logger = logging.getLogger(__name__)


def tick(process: WorkerProcess) -> None:
    """Submit a job for every due slot. A slot that was missed is caught up once, not once for each time."""
    for schedule in schedules.find_due(process.db):
        job_id = slot_job_id(schedule)
        try:
            _submit(schedule, job_id, process)
        except BacklineError as error:
            logger.error("schedule %s can't submit its job: %s", schedule.name, error)
        schedules.advance(process.db, schedule, next_at=_next_at(schedule), job_id=job_id)


def slot_job_id(schedule: Schedule) -> str:
    """Return the id that the job of a schedule's present slot has, whoever submits it."""
    return f"{schedule.name}@{schedule.next_at:%Y%m%dT%H%M%SZ}"


def _submit(schedule: Schedule, job_id: str, process: WorkerProcess) -> None:
    kind = get_kind(schedule.kind)
    request = validate_request(kind, schedule.request)
    job, is_new = submit(process.db, kind, request, job_id=job_id, schedule=schedule.name)
    if is_new:
        logger.info("schedule %s submitted %s", schedule.name, job.id)
        doorbell.ring_plan([job.id])


def _next_at(schedule: Schedule) -> datetime:
    return next_slot(cron=schedule.cron, every_seconds=schedule.every_seconds, timezone=schedule.timezone, after=now())
