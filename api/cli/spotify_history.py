"""`backline spotify sync-history`: what users have played lately."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import WrongInput
from api.cli.following import exit_code_of, follow, goes_on
from api.cli.items import read_all
from api.cli.options import AsJson, Data, Url

KIND = "history_sync"

Whose = Annotated[str | None, typer.Option("--user", "-u", metavar="ID", help="Whose plays.", show_default="local")]
Everybody = Annotated[bool, typer.Option("--all", help="Everybody whose account is connected.")]


def sync_history(
    *,
    user: Whose = None,
    everybody: Everybody = False,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Add what a user has played lately at Spotify to their listening history.

    Spotify remembers the last fifty plays; `backline schedules resume spotify-history` does it every half hour.

    Example: backline spotify sync-history --user ada
    """
    if everybody and user is not None:
        raise WrongInput("--all and --user say different things.", hint="Give one of them.")
    request: Json = {"allUsers": True} if everybody else {"userId": user} if user else {}
    with connect(url, data) as client:
        job_id = client.submit(KIND, request)["id"]
        with goes_on([job_id]):
            (job,) = follow(client, [job_id], title="Reading")
        items = list(read_all(client, [job]))
    if as_json:
        output.print_json({"job": job, "users": [one.get("result") or one.get("error") for one in items]})
        return exit_code_of([job])
    for one in items:
        output.stdout().print(_line(one))
    return exit_code_of([job])


def _line(one: Json) -> str:
    who, result, error = output.clean(str(one["item"]["userId"])), one.get("result"), one.get("error")
    if result is None:
        return f"{who}: {output.clean(str((error or {}).get('message', one['status'])))}"
    return f"{who}: {output.plural(result['plays'], 'new play')}, {result['known']} known"
