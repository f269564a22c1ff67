"""`backline up`: the whole stack on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.connection import with_data
from api.cli.errors import WrongInput
from api.cli.options import Data
from deploy.announcements import is_readable
from deploy.stack import StackOptions, run_foreground

Music = Annotated[
    list[Path] | None,
    typer.Option(
        "--music",
        metavar="DIR",
        help="A folder whose files may be read, besides BACKLINE_MUSIC_ROOTS; may be repeated.",
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes for heavy work; else one a core.")]
SearchServers = Annotated[
    int, typer.Option("--search", min=1, metavar="N", help="Processes that answer searches; each can use a core.")
]
Events = Annotated[
    bool, typer.Option("--json", help="Write events to standard output, one JSON object a line: starting, ready, ...")
]
Host = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="What the API listens on, else BACKLINE_API_HOST, else loopback only; another address needs keys.",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, metavar="P", help="Of the API, else BACKLINE_API_PORT, else 8765; 0 for any free one."
    ),
]


app = typer.Typer(add_completion=False)


@app.command("up")
def up(
    *,
    data: Data = None,
    music: Music = None,
    workers: Workers = None,
    search: SearchServers = 1,
    host: Host = None,
    port: Port = None,
    as_json: Events = False,
) -> int:
    """Run everything on this machine, until Ctrl-C.

    Starts embedded servers unless REDIS_URL and MONGODB_URI say where others are; restarts what dies.
    Only files below the music folders may be read; without any, every file is refused.

    Example: backline up --music ~/Music
    """
    settings = with_data(data)
    folders = tuple(folder.expanduser().absolute() for folder in music or ())
    for folder in folders:
        if not folder.is_dir():
            raise WrongInput(f"There is no folder {folder}.", hint="Name an existing folder for --music.")
        if not is_readable(folder):
            raise WrongInput(f"The folder {folder} can't be read.", hint="Check its rights, or name another folder.")
    chosen: dict[str, Any] = {} if workers is None else {"workers": workers}
    return run_foreground(
        StackOptions(
            data_dir=settings.data_dir,
            music_roots=(*settings.music_roots, *folders),
            host=host or settings.api_host,
            port=settings.api_port if port is None else port,
            search_servers=search,
            **chosen,
        ),
        as_json=as_json,
    )
