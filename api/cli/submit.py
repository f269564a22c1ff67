"""`backline submit`: a job of any kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.client import Json
from api.cli.connection import connect
from api.cli.errors import ExitCode, WrongInput
from api.cli.jobs import watch_to_end
from api.cli.options import AsJson, Data, Url, User

KEY_MAX = 200

Kind = Annotated[str, typer.Argument(metavar="KIND", help="A kind of job; `backline kinds` lists them.")]
Request = Annotated[str, typer.Argument(metavar="[JSON|@FILE|-]", help="The request: JSON, a file, or standard input.")]
Key = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="An idempotency key: submitted again, it is the same job.")
]


def read_request(text: str, *, user: str | None = None) -> Json:
    """Return the request that an argument holds or points to. Raises `WrongInput`."""
    try:
        value = json.loads(_content(text), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise WrongInput(
            f"The request is no valid JSON: {error}.", hint="Quote it for the shell, or use @FILE."
        ) from None
    if not isinstance(value, dict):
        raise WrongInput("The request is no JSON object.", hint='Write {"name": value, ...}.')
    if user is None:
        return value
    if value.get("userId", user) != user:
        raise WrongInput(f"--user {user} contradicts the request's userId.", hint="Leave one of them out.")
    return {**value, "userId": user}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _content(text: str) -> str | bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        raise WrongInput(f"{text[1:]} can't be read: {error.strerror}.", hint="Check the file's name.") from None


app = typer.Typer(add_completion=False)


@app.command("submit")
def submit(
    kind: Kind,
    request: Request = "{}",
    *,
    watch: Annotated[bool, typer.Option(help="Wait for the end.")] = False,
    user: User = None,
    key: Key = None,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Submit a job of any kind, and print its id.

    Examples:

      backline submit audio_features '{"paths": ["/music"]}'

      backline submit audio_features @request.json --watch
    """
    if key is not None and not (key.isascii() and key.isprintable() and 0 < len(key) <= KEY_MAX):
        raise WrongInput("--key takes up to 200 ASCII characters.", hint="A UUID is a good key.")
    body = read_request(request, user=user)
    with connect(url, data) as client:
        job = client.submit(kind, body, key=key)
        if watch:
            return watch_to_end(client, [job["id"]], as_json=as_json)
    if as_json:
        output.print_json(job)
    else:
        sys.stdout.write(f"{job['id']}\n")
    return ExitCode.OK
