"""`backline mcp`: the door for assistants that start their servers themselves, over standard input and output."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import anyio
import typer
from anyio import to_thread

from api.cli import output
from api.cli.client import Client, is_local
from api.cli.connection import Address, find_address, with_data
from api.cli.errors import WrongInput
from api.cli.options import Data, Url
from api.mcp.stdio import serve
from deploy.errors import DataFolderInUse
from deploy.stack import Stack, StackOptions

TURN_SECONDS = 0.5  # between two looks whether the data folder is free
PATIENCE_SECONDS = 30.0  # how long another stack on the folder may take to start, or to stop

Music = Annotated[
    list[Path] | None,
    typer.Option(
        "--music",
        metavar="DIR",
        help="A folder whose files may be read where a stack is started, besides BACKLINE_MUSIC_ROOTS;"
        " may be repeated.",
    ),
]

app = typer.Typer(add_completion=False)


@app.command("mcp")
def mcp(*, url: Url = None, data: Data = None, music: Music = None) -> int:
    """Serve an assistant over standard input and output (MCP).

    Meant to be started by the assistant. Uses the running Backline; where
    there is none, starts one with the first message, and stops it at the
    end. Jobs that are not done by then go on when a Backline runs again.

    Example: claude mcp add backline -- backline mcp --music ~/Music
    """
    folders = tuple(folder.expanduser().absolute() for folder in music or ())
    for folder in folders:
        if not folder.is_dir():
            raise WrongInput(f"There is no folder {folder}.", hint="Name an existing folder for --music.")
    address = find_address(url, data)
    if address is not None:
        with Client(*address):  # refuses what is no address
            pass
    if sys.stdin.isatty():
        output.say("This speaks to a program, one JSON message a line; Ctrl-D ends it.")
    upstream = Upstream(url, data, folders)
    trust_env = address is not None and not is_local(address.url)
    try:
        return anyio.run(lambda: serve(upstream.find, trust_env=trust_env))
    finally:
        upstream.stop()


class Upstream:
    """The Backline that messages go to: the one that runs, or one of our own."""

    def __init__(self, url: str | None, data: Path | None, music: tuple[Path, ...]) -> None:
        """Look nowhere yet."""
        self._url, self._data, self._music = url, data, music
        self._own: Stack | None = None
        self._turn = anyio.Lock()
        self._is_over = False

    async def find(self) -> Address:
        """Return its address and key; start it where nothing runs. Raises `BacklineError`."""
        async with self._turn:
            found = find_address(self._url, self._data)
            if found is None:
                found = await to_thread.run_sync(self._start, abandon_on_cancel=True)
            return found

    def stop(self) -> None:
        """Stop what was started."""
        self._is_over = True
        if self._own is not None:
            self._own.stop()

    def _start(self) -> Address:
        settings = with_data(self._data)
        # It is one that lasts: other calls may use it, for nobody knows how long an assistant stays.
        options = StackOptions(
            data_dir=settings.data_dir, music_roots=(*settings.music_roots, *self._music), quiet=True
        )
        output.say(f"No Backline runs on the data folder {settings.data_dir}: starting one.")
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            self._own = Stack(options)
            try:
                running = self._own.start()
                return Address(running.url, running.key)
            except DataFolderInUse:
                found = find_address(self._url, self._data)
                if found is not None:
                    return found
                if self._is_over or time.monotonic() >= give_up:
                    raise
            time.sleep(TURN_SECONDS)
