"""The routes of schedules: jobs that are submitted by themselves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from pydantic import ConfigDict, Field

from api.documents import ScheduleDocument, ScheduleList, schedule_document, schedule_path
from api.problems import Problem
from api.services import InjectedDb
from shared.clock import now
from shared.jobs import get_kind
from shared.lifecycle import validate_request
from shared.model import Body, Json
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


def _checked(schedule: Schedule) -> Schedule:
    """Return the schedule with the time at which it is due next, once all of it makes sense."""
    kind = get_kind(schedule.kind)
    request = validate_request(kind, schedule.request)
    timing: dict[str, Any] = {
        "cron": schedule.cron,
        "every_seconds": schedule.every_seconds,
        "timezone": schedule.timezone,
    }
    check_timing(**timing)
    moment = now()
    changes = {
        "owner": request.user_id,
        "request": request.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        "next_at": next_slot(**timing, after=moment),
        "updated_at": moment,
    }
    return schedule.model_copy(update=changes)


@router.get("", summary="List schedules", response_model=ScheduleList)
def list_schedules(db: InjectedDb) -> ScheduleList:
    """Every schedule, by name."""
    return ScheduleList(schedules=tuple(schedule_document(schedule) for schedule in schedules.find_all(db)))


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
def create_schedule(db: InjectedDb, response: Response, body: NewSchedule) -> ScheduleDocument:
    """Submit a job by itself, at the times of a cron expression or at an interval."""
    moment = now()
    values = body.model_dump(exclude={"owner"})
    schedule = _checked(Schedule(**values, owner="", next_at=moment, created_at=moment, updated_at=moment))
    schedules.insert(db, schedule)
    response.headers["Location"] = schedule_path(schedule.name)
    return schedule_document(schedule)


@router.get("/{name}", summary="Read a schedule", response_model=ScheduleDocument, responses=NOT_FOUND)
def read_schedule(db: InjectedDb, name: Name) -> ScheduleDocument:
    """One schedule."""
    return schedule_document(schedules.get(db, name))


@router.patch("/{name}", summary="Change a schedule", response_model=ScheduleDocument, responses=NOT_FOUND)
def change_schedule(db: InjectedDb, name: Name, body: ScheduleChange) -> ScheduleDocument:
    """Change what or when, pause, or go on; the time at which it is due next is computed anew."""
    changes = body.model_dump(exclude_none=True)
    if "cron" in changes:
        changes.setdefault("every_seconds", None)
    if "every_seconds" in changes:
        changes.setdefault("cron", None)
    schedule = _checked(schedules.get(db, name).model_copy(update=changes))
    schedules.replace(db, schedule)
    return schedule_document(schedule)


@router.delete("/{name}", summary="Delete a schedule", status_code=204, responses=NOT_FOUND)
def delete_schedule(db: InjectedDb, name: Name) -> None:
    """The jobs that it submitted stay."""
    schedules.delete(db, name)
