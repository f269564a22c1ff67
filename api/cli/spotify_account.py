"""`backline spotify connect` and `disconnect`: a user's account at Spotify."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.text import Text

from api.cli import output
from api.cli.connection import connect
from api.cli.errors import CommandError, ExitCode, WrongInput
from api.cli.loopback import Listener, listening
from api.cli.options import AsJson, Data, Url

USER_ID = "local"
WAIT_SECONDS = 300.0

Whose = Annotated[str, typer.Option("--user", "-u", metavar="ID", help="Whose account it is.")]
Port = Annotated[
    int,
    typer.Option(min=0, max=65535, help="The port of the page that the browser comes back to; 0 is any free one."),
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only show the address; open it yourself.")]


class NobodyCame(CommandError):
    """The browser did not come back."""

    code = "nobody_came"
    advice = "Call it again; the app at Spotify must have http://127.0.0.1/callback among its redirect URIs."


def connect_account(
    *,
    user: Whose = USER_ID,
    port: Port = 0,
    no_browser: NoBrowser = False,
    url: Url = None,
    data: Data = None,
    as_json: AsJson = False,
) -> int:
    """Connect a user's account at Spotify, for private playlists and the listening history.

    A browser opens, in which the user says yes; it comes back to a page on this machine. Nothing can be changed in
    the account.

    Example: backline spotify connect --user ada
    """
    with connect(url, data) as client, _listening(port) as listener:
        begun = client.begin_spotify_authorization(user, listener.redirect_uri)
        output.say("Open this address, and say yes:")
        output.stderr().print(Text(begun["authorizeUrl"]), soft_wrap=True)  # in one piece, to be copied
        if not no_browser:
            webbrowser.open(begun["authorizeUrl"])
        brought = listener.wait(begun["state"], seconds=WAIT_SECONDS)
        if brought is None:
            raise NobodyCame("Nobody has come back from Spotify.")
        answer = {name: brought[name] for name in ("error", "code") if name in brought}
        connection = client.end_spotify_authorization(begun["state"], answer)
    if as_json:
        output.print_json(connection)
    else:
        output.say(f"The account of {output.clean(user)} is connected.")
    return ExitCode.OK


@contextmanager
def _listening(port: int) -> Iterator[Listener]:
    """Listen for the browser. Raises `WrongInput`."""
    try:
        listener = listening(port)
    except OSError as error:
        raise WrongInput(f"Port {port} can't be used: {error.strerror}.", hint="Choose another with --port.") from None
    with listener:
        yield listener


def disconnect_account(*, user: Whose = USER_ID, url: Url = None, data: Data = None, as_json: AsJson = False) -> int:
    """Forget a user's account at Spotify; what was read with it stays.

    Example: backline spotify disconnect --user ada
    """
    with connect(url, data) as client:
        forgotten = client.forget_spotify_connection(user)
    if as_json:
        output.print_json({"userId": user, "forgotten": forgotten})
    else:
        words = "is forgotten" if forgotten else "was not connected"
        output.say(f"The account of {output.clean(user)} {words}.")
    return ExitCode.OK
