"""The tools of schedules: jobs that are submitted by themselves."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from api import schedules as routes
from api.access import visit
from api.documents import ScheduleDocument, ScheduleList, schedule_document
from api.mcp.answers import answer, schedule_line
from api.mcp.tool import ADDS, CHANGES, ENDS, READS, JobTool, Nothing, Provide, tool
from shared.access import Principal, Scope
from shared.model import Body, Db

Name = Annotated[str, Field(min_length=1, max_length=256, description="The schedule's name", examples=["nightly"])]


class OneSchedule(Body):
    """Which schedule."""

    name: Name


class Pause(OneSchedule):
    """Which schedule, and whether it should rest."""

    paused: bool = Field(default=True, description="false lets a paused schedule go on")


class Removed(Body):
    """The schedule that is no more."""

    name: str


def schedule_tools(provide: Provide) -> list[JobTool]:
    """Return the tools of schedules."""

    def db() -> Db:
        return provide().connection.db

    def writer() -> Principal:
        return visit.principal(Scope.JOBS_WRITE)

    async def list_schedules(_: Nothing, __: Context[Any, Any]) -> CallToolResult:
        found = await to_thread.run_sync(lambda: routes.list_schedules(visit.principal(Scope.JOBS_READ), db()))
        lines = [schedule_line(schedule) for schedule in found.schedules]
        return answer("\n".join(lines or ["There are no schedules."]), found)

    async def add_schedule(wanted: routes.NewSchedule, _: Context[Any, Any]) -> CallToolResult:
        stored = await to_thread.run_sync(lambda: routes.store(db(), writer().owner, wanted))
        return answer_with(schedule_document(stored))

    async def pause_schedule(wanted: Pause, _: Context[Any, Any]) -> CallToolResult:
        change = routes.ScheduleChange(paused=wanted.paused)
        return answer_with(
            await to_thread.run_sync(lambda: routes.change_schedule(writer(), db(), wanted.name, change))
        )

    async def remove_schedule(wanted: OneSchedule, _: Context[Any, Any]) -> CallToolResult:
        await to_thread.run_sync(lambda: routes.delete_schedule(writer(), db(), wanted.name))
        return answer(f"Schedule {wanted.name} is removed; its jobs stay.", Removed(name=wanted.name))

    def answer_with(schedule: ScheduleDocument) -> CallToolResult:
        return answer(schedule_line(schedule), schedule)

    define = partial(tool, provide=provide)
    return [
        define(
            list_schedules,
            name="list_schedules",
            title="List schedules",
            description="Which jobs are submitted by themselves, when next, and what became of the last one.",
            annotations=READS,
            arguments=Nothing,
            output=ScheduleList,
        ),
        define(
            add_schedule,
            name="add_schedule",
            title="Add a schedule",
            description="Have a job submitted by itself, at the times of a cron expression or at an interval. `request`"
            " holds what the kind's own submit tool takes.",
            annotations=ADDS,
            arguments=routes.NewSchedule,
            output=ScheduleDocument,
        ),
        define(
            pause_schedule,
            name="pause_schedule",
            title="Pause or resume a schedule",
            description="Let a schedule rest, or go on with paused false. A job that it has submitted is not touched.",
            annotations=CHANGES,
            arguments=Pause,
            output=ScheduleDocument,
        ),
        define(
            remove_schedule,
            name="remove_schedule",
            title="Remove a schedule",
            description="Delete a schedule for good; the jobs that it submitted stay. Only on the user's wish.",
            annotations=ENDS,
            arguments=OneSchedule,
            output=Removed,
        ),
    ]
