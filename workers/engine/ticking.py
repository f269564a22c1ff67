"""Tick: submit the jobs of the schedules that are due, each slot once, however many beats ring."""

from __future__ import annotations

import logging
from datetime import datetime

from shared import tracing
from shared.clock import now
from shared.errors import BacklineError, InvalidSchedule, in_words
from shared.jobs import get_kind
from shared.lifecycle import submit, validate_request
from shared.quotas import check_open_jobs
from shared.store import schedules
from shared.store.database import StoreError
from shared.store.schedules import Schedule, ScheduleError
from shared.timing import next_slot
from workers.engine import doorbell
from workers.engine.process import WorkerProcess

logger = logging.getLogger(__name__)


def tick(process: WorkerProcess) -> None:
    """Submit a job for every due slot. A slot that was missed is caught up once, not once for each time."""
    for schedule in schedules.find_due(process.db):
        job_id, error = _submit_or_error(schedule, process)
        schedules.record_slot(process.db, schedule, job_id=job_id, error=error)
        _move_on(schedule, process)


def slot_job_id(schedule: Schedule) -> str:
    """Return the id that the job of a schedule's present slot has, whoever submits it."""
    return f"{schedule.id}@{schedule.next_at:%Y%m%dT%H%M%SZ}"


def _submit_or_error(schedule: Schedule, process: WorkerProcess) -> tuple[str, None] | tuple[None, ScheduleError]:
    """Return the id of the slot's job, or what keeps it from being submitted, which concerns no other schedule."""
    try:
        return _submit(schedule, process), None
    except StoreError:
        raise
    except BacklineError as error:
        logger.error("schedule %s can't submit its job: %s", schedule.id, error)
        return None, ScheduleError(code=error.code, message=error.message)
    except Exception as error:  # a kind of somebody else's may raise anything; those behind it are due all the same
        logger.exception("schedule %s can't submit its job", schedule.id)
        return None, ScheduleError(code="unexpected", message=in_words(error))


def _submit(schedule: Schedule, process: WorkerProcess) -> str:
    kind = get_kind(schedule.kind)
    request = validate_request(kind, schedule.request)
    check_open_jobs(process.db, schedule.owner, process.settings)
    with tracing.span(f"schedule {kind.name}", within=tracing.NEW):
        job, is_new = submit(
            process.db, kind, request, owner=schedule.owner, job_id=slot_job_id(schedule), schedule=schedule.name
        )
    if is_new:
        logger.info("schedule %s submitted %s", schedule.id, job.id)
        doorbell.ring_plan([job.id])
    return job.id


def _move_on(schedule: Schedule, process: WorkerProcess) -> None:
    """Set the next slot; a schedule that has none any more, for its timezone is gone perhaps, is paused."""
    try:
        next_at = _next_at(schedule)
    except InvalidSchedule as error:
        logger.error("schedule %s is paused: %s", schedule.id, error)
        schedules.suspend(process.db, schedule, ScheduleError(code=error.code, message=error.message))
    else:
        schedules.advance(process.db, schedule, next_at=next_at)


def _next_at(schedule: Schedule) -> datetime:
    return next_slot(
        cron=schedule.cron,
        every_seconds=schedule.every_seconds,
        timezone=schedule.timezone,
        after=max(now(), schedule.next_at),  # the clock of the machine that found it due may be ahead of ours
        slot=schedule.next_at,
    )
