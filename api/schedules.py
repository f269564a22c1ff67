"""The routes of schedules: jobs that are submitted by themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import ConfigDict, Field

from api.access import visit
from api.access.visit import Reader, Writer
from api.documents import ScheduleDocument, ScheduleList, schedule_document, schedule_path
from api.problems import Problem
from api.services import InjectedDb
from shared.clock import now
from shared.jobs import get_kind
from shared.lifecycle import validate_request
from shared.model import Body, Db, Json
from shared.store import schedules
from shared.store.schedules import Schedule
from shared.timing import check_timing, next_slot

SLUG = r"^[a-z0-9][a-z0-9_-]{0,63}$"

Name = Annotated[str, Path(description="The schedule's name", examples=["nightly"], max_length=256)]
Cron = Annotated[
    str | None, Field(max_length=256, description="Five fields, read in `timezone`", examples=["0 2 * * sun"])
]
EverySeconds = Annotated[float | None, Field(description="An interval, in place of `cron`")]
Timezone = Annotated[str, Field(max_length=64, description="An IANA name", examples=["Europe/Berlin"])]

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such schedule"}}

router = APIRouter(prefix="/api/schedules", tags=["schedules"])


class NewSchedule(Body):
    """A job request, and either a cron expression or an interval."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "nightly",
                    "kind": "audio_features",
                    "request": {"userId": "ada", "paths": ["/music"]},
                    "cron": "0 2 * * *",
                    "timezone": "Europe/Berlin",
                },
                {"name": "hourly", "kind": "audio_features", "request": {"paths": ["/music"]}, "everySeconds": 3600},
            ]
        }
    )

    name: str = Field(pattern=SLUG, description="Lower-case letters, digits, `-` and `_`")
    kind: str = Field(max_length=256, description="A kind of job")
    request: Json = Field(description="A request of that kind")
    cron: Cron = None
    every_seconds: EverySeconds = None
    timezone: Timezone = "UTC"
    paused: bool = False


class ScheduleChange(Body):
    """What should be different; a field that is not given stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"paused": True}, {"everySeconds": 600}]})

    request: Json | None = None
    cron: Cron = Field(default=None, description="Takes the place of an interval")
    every_seconds: EverySeconds = Field(default=None, description="Takes the place of a cron expression")
    timezone: Timezone | None = None
    paused: bool | None = None


TIMING = ("cron", "every_seconds", "timezone")


def _request_values(kind: str, request: Json) -> dict[str, Any]:
    """Return what a schedule keeps of a request that is valid."""
    form = get_kind(kind)
    visit.principal(form.scope)  # what somebody may not submit, nothing submits for them
    checked = validate_request(form, request)
    return {
        "user_id": checked.user_id,
        "request": checked.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }


def _next_at(schedule: Schedule) -> datetime:
    """Return when a schedule whose timing makes sense is due next."""
    timing = schedule.model_dump(include=set(TIMING))
    check_timing(**timing)
    return next_slot(**timing, after=now())


def _changes(schedule: Schedule, body: ScheduleChange) -> dict[str, Any]:
    """Return the fields that are different afterwards; what is not touched is neither checked nor written."""
    changes = body.model_dump(exclude_none=True)
    if "cron" in changes:
        changes.setdefault("every_seconds", None)
    if "every_seconds" in changes:
        changes.setdefault("cron", None)
    if "request" in changes:
        changes |= _request_values(schedule.kind, changes["request"])
    # Only then, so that the slots of a running schedule stay where they are.
    if any(field in changes for field in TIMING) or (schedule.paused and changes.get("paused") is False):
        changes["next_at"] = _next_at(schedule.model_copy(update=changes))
    return changes


def store(db: Db, owner: str, body: NewSchedule) -> Schedule:
    """Store a schedule whose request and timing make sense, and return it."""
    moment = now()
    values = body.model_dump() | _request_values(body.kind, body.request)
    key = schedules.schedule_id(owner, body.name)
    draft = Schedule(**values, id=key, owner=owner, next_at=moment, created_at=moment, updated_at=moment)
    schedule = draft.model_copy(update={"next_at": _next_at(draft)})
    schedules.insert(db, schedule)
    return schedule


@router.get("", summary="List schedules", response_model=ScheduleList)
def list_schedules(who: Reader, db: InjectedDb) -> ScheduleList:
    """Every schedule of yours, by name."""
    found = schedules.find_all(db, who.owner)
    return ScheduleList(schedules=tuple(schedule_document(schedule) for schedule in found))


@router.post(
    "",
    summary="Create a schedule",
    status_code=201,
    response_model=ScheduleDocument,
    responses={
        201: {"headers": {"Location": {"description": "Where the schedule is found", "schema": {"type": "string"}}}},
        404: {"model": Problem, "description": "There is no such kind of job"},
        409: {"model": Problem, "description": "There is a schedule of this name already"},
    },
)
def create_schedule(who: Writer, db: InjectedDb, response: Response, body: NewSchedule) -> ScheduleDocument:
    """Submit a job by itself, at the times of a cron expression or at an interval."""
    response.headers["Location"] = schedule_path(body.name)
    return schedule_document(store(db, who.owner, body))


@router.get("/{name}", summary="Read a schedule", response_model=ScheduleDocument, responses=NOT_FOUND)
def read_schedule(who: Reader, db: InjectedDb, name: Name) -> ScheduleDocument:
    """One schedule."""
    return schedule_document(schedules.get(db, who.owner, name))


@router.patch("/{name}", summary="Change a schedule", response_model=ScheduleDocument, responses=NOT_FOUND)
def change_schedule(who: Writer, db: InjectedDb, name: Name, body: ScheduleChange) -> ScheduleDocument:
    """Change what or when, pause, or go on; a change of the timing, and going on, set anew when it is due next."""
    changes = _changes(schedules.get(db, who.owner, name), body)
    return schedule_document(schedules.update(db, who.owner, name, {**changes, "updated_at": now()}))


@router.delete("/{name}", summary="Delete a schedule", status_code=204, responses=NOT_FOUND)
def delete_schedule(who: Writer, db: InjectedDb, name: Name) -> None:
    """The jobs that it submitted stay."""
    schedules.delete(db, who.owner, name)
