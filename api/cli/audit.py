"""`backline audit`: who did what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.text import Text

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.keys import days
from api.cli.options import AsJson, Data, Url

Owner = Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Only what this owner's keys did.")]
Actor = Annotated[str | None, typer.Option("--actor", metavar="ID", help="Only what this key did: key:ID.")]
Action = Annotated[str | None, typer.Option("--action", metavar="NAME", help="Only this route or tool.")]
Outcome = Annotated[str | None, typer.Option("--outcome", metavar="CODE", help="Only ok, or this code.")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Only the last 12h, 7d, ...")]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many entries at most.")]

app = typer.Typer(add_completion=False)


@app.command("audit")
def show_audit(
    *,
    owner: Owner = None,
    actor: Actor = None,
    action: Action = None,
    outcome: Outcome = None,
    since: Since = None,
    limit: Limit = 50,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed something or was refused, newest first.

    Example: backline audit --outcome not_authenticated --since 7d
    """
    start = None if since is None else (datetime.now(UTC) - timedelta(days=days(since))).isoformat()
    filters = {"owner": owner, "actor": actor, "action": action, "outcome": outcome, "since": start}
    with connect(url, data) as client:
        entries = list(client.audit(limit=limit, filters=filters))
    if as_json:
        output.print_json({"entries": entries})
    elif not entries:
        output.say("Nothing of that kind is in the audit log.")
    else:
        columns = ("when", "owner", "actor", "from", "did", "to", "outcome")
        output.stdout().print(output.table(columns, map(_row, entries)))


def _row(entry: Json) -> tuple[object, ...]:
    outcome = entry["outcome"]
    return (
        output.relative(entry["at"]),
        entry["owner"],
        entry["actor"],
        entry["address"],
        entry["action"],
        entry["target"],
        Text(output.clean(outcome), style="green" if outcome == "ok" else "red"),
    )
