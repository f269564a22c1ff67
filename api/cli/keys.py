"""`backline keys`: who may come in."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import WrongInput
from api.cli.options import AsJson, Data, Url
from shared.access import DEFAULT_OWNER, Scope

USUAL_SCOPES = (Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.SEARCH)

Owner = Annotated[str, typer.Option("--owner", metavar="NAME", help="Whose jobs, schedules and library the key opens.")]
OnlyOwner = Annotated[str | None, typer.Option("--owner", metavar="NAME", help="Only keys of this owner.")]
Scopes = Annotated[
    list[Scope] | None,
    typer.Option("--scope", help="What its holder may do; may be repeated. Else jobs:read, jobs:write and search."),
]
Name = Annotated[str, typer.Option("--name", metavar="WORDS", help="What it is for.")]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="After how long it opens nothing: 12h, 90d. Else never.")
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `backline keys list`.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, list and revoke keys.")


@app.command("create")
def create_key(
    *,
    owner: Owner = DEFAULT_OWNER,
    scope: Scopes = None,
    name: Name = "",
    expires: Expires = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown once: only its hash is stored.

    Owners see nothing of each other. A new name makes a new owner.

    Example: backline keys create --owner echotune --name "the web shop" --expires 90d
    """
    wanted = {
        "owner": owner,
        "scopes": [one.value for one in scope or USUAL_SCOPES],
        "name": name,
        "expiresDays": None if expires is None else days(expires),
    }
    with connect(url, data) as client:
        made = client.create_key(wanted)
    if as_json:
        output.print_json(made)
        return
    output.say(f"The key {made['id']} of {made['owner']}: {', '.join(made['scopes'])}. Keep it; it is not shown again.")
    output.stdout().print(made["key"], markup=False)


def days(text: str) -> float:
    """Return a time such as ``12h`` or ``90d`` in days. Raises `WrongInput`."""
    try:
        number = float(text[:-1])
        found = {"h": number / 24, "d": number}[text[-1:]]
    except (ValueError, KeyError):
        raise WrongInput(f"{text!r} is no time.", hint="Write it in hours or days: 12h, 90d.") from None
    if not found > 0:
        raise WrongInput(f"{text!r} is over before it has begun.", hint="Write it in hours or days: 12h, 90d.")
    return found


@app.command("list")
def list_keys(*, owner: OnlyOwner = None, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """List the keys, the revoked and expired ones included."""
    with connect(url, data) as client:
        answer = client.keys(owner)
    if as_json:
        output.print_json(answer)
    elif not answer["keys"]:
        output.say("No key was made yet; the stack's own lies in its data folder.")
    else:
        columns = ("id", "owner", "scopes", "name", "made", "last used", "state")
        output.stdout().print(output.table(columns, map(_row, answer["keys"])))


def _row(key: Json) -> tuple[object, ...]:
    return (
        key["id"],
        key["owner"],
        ", ".join(key["scopes"]),
        key["name"],
        output.relative(key["createdAt"]),
        output.relative(key["lastUsedAt"]) or "never",
        _state(key),
    )


def _state(key: Json) -> str:
    if key["revokedAt"] is not None:
        return f"revoked {output.relative(key['revokedAt'])}"
    if key["expiresAt"] is None:
        return "valid"
    when = output.relative(key["expiresAt"]) or ""
    return f"expired {when}" if when.endswith("ago") else f"expires {when}"


@app.command("revoke")
def revoke_key(key_id: KeyId, *, url: Url = None, data: Data = None, as_json: AsJson = False) -> None:
    """Let a key open nothing any more, within seconds."""
    with connect(url, data) as client:
        key = client.revoke_key(key_id)
    if as_json:
        output.print_json(key)
    else:
        output.stdout().print(f"Revoked {output.clean(key['id'])} of {output.clean(key['owner'])}", markup=False)
