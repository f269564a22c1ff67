"""`backline schedules`: jobs that are submitted by themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import WrongInput
from api.cli.options import AsJson, Data, Url, User
from api.cli.submit import read_request

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
Kind = Annotated[str, typer.Option("--kind", metavar="KIND", help="The kind of job.")]
Request = Annotated[str, typer.Option("--request", metavar="JSON|@FILE|-", help="The job's request.")]
NewRequest = Annotated[str | None, typer.Option("--request", metavar="JSON|@FILE|-", help="Another request.")]
Cron = Annotated[str | None, typer.Option("--cron", metavar="EXPR", help="When: five fields, such as '0 2 * * sun'.")]
Every = Annotated[float | None, typer.Option("--every", metavar="SECONDS", help="Or at which interval.")]
Timezone = Annotated[
    str, typer.Option("--timezone", metavar="ZONE", help="The time zone in which the cron expression is read.")
]
NewTimezone = Annotated[str | None, typer.Option("--timezone", metavar="ZONE", help="Another time zone.")]
Paused = Annotated[bool, typer.Option("--paused", help="Store it, and let it wait.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Submit jobs by the calendar, or at an interval.")


@app.command("list")
def list_schedules(*, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the schedules."""
    with connect(url, data) as client:
        answer = client.schedules()
    if as_json:
        output.print_json(answer)
    elif not answer["schedules"]:
        output.say("There is no schedule.")
    else:
        columns = ("name", "kind", "user", "when", "next", "last job", "last error")
        output.stdout().print(output.table(columns, map(_row, answer["schedules"])))


def _row(schedule: Json) -> tuple[object, ...]:
    return (
        schedule["name"],
        schedule["kind"],
        schedule["userId"],
        _when(schedule),
        "paused" if schedule["paused"] else output.relative(schedule["nextAt"]),
        schedule["lastJobId"],
        schedule["lastError"] and schedule["lastError"]["message"],
    )


def _when(schedule: Json) -> str:
    if schedule["cron"] is not None:
        return f"{schedule['cron']} ({schedule['timezone']})"
    return f"every {output.duration(schedule['everySeconds'])}"


@app.command("add")
def add_schedule(
    name: Name,
    *,
    kind: Kind,
    request: Request = "{}",
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = "UTC",
    paused: Paused = False,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Add a schedule.

    Example: backline schedules add nightly --kind audio_features --cron '0 2 * * *' --request '{"paths": ["/music"]}'
    """
    if (cron is None) == (every is None):
        raise WrongInput("Say when: either --cron or --every.", hint="--cron '0 2 * * *', or --every 3600.")
    timing: Json = {"cron": cron, "timezone": timezone} if cron is not None else {"everySeconds": every}
    body = {"name": name, "kind": kind, "request": read_request(request, user=user), "paused": paused, **timing}
    with connect(url, data) as client:
        _print(client.add_schedule(body), as_json=as_json)


@app.command("edit")
def edit_schedule(
    name: Name,
    *,
    request: NewRequest = None,
    cron: Cron = None,
    every: Every = None,
    timezone: NewTimezone = None,
    user: User = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Change what a schedule submits, or when; what is not named stays as it is.

    Example: backline schedules edit nightly --cron '30 3 * * *'
    """
    if cron is not None and every is not None:
        raise WrongInput("--cron and --every contradict one another.", hint="Leave one of them out.")
    if request is None and user is not None:
        raise WrongInput("--user goes with a new --request.", hint="Repeat the request.")
    body = None if request is None else read_request(request, user=user)
    wanted = {"request": body, "cron": cron, "everySeconds": every, "timezone": timezone}
    changes = {field: value for field, value in wanted.items() if value is not None}
    if not changes:
        raise WrongInput("Say what to change: --request, --cron, --every or --timezone.")
    with connect(url, data) as client:
        _print(client.change_schedule(name, changes), as_json=as_json)


@app.command("pause")
def pause_schedule(name: Name, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Let a schedule rest until it is resumed."""
    with connect(url, data) as client:
        _print(client.change_schedule(name, {"paused": True}), as_json=as_json)


@app.command("resume")
def resume_schedule(name: Name, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Let a paused schedule go on."""
    with connect(url, data) as client:
        _print(client.change_schedule(name, {"paused": False}), as_json=as_json)


@app.command("remove")
def remove_schedule(name: Name, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Remove a schedule; the jobs that it submitted stay."""
    with connect(url, data) as client:
        client.remove_schedule(name)
    if as_json:
        output.print_json({"removed": name})
    else:
        output.stdout().print(f"Removed {output.clean(name)}", markup=False)


def _print(schedule: Json, *, as_json: bool) -> None:
    if as_json:
        output.print_json(schedule)
        return
    due = "paused" if schedule["paused"] else f"next {output.relative(schedule['nextAt'])}"
    text = f"{schedule['name']}: {schedule['kind']}, {_when(schedule)}, {due}"
    output.stdout().print(output.clean(text), markup=False)
