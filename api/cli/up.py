"""`backline up`: the whole stack on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.connection import with_data
from api.cli.errors import WrongInput
from api.cli.options import Data
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
Port = Annotated[int | None, typer.Option(min=0, max=65535, metavar="P", help="Of the API; 0 for any free one.")]


app = typer.Typer(add_completion=False)


@app.command("up")
def up(*, data: Data = None, music: Music = None, workers: Workers = None, port: Port = None) -> int:
    """Run everything on this machine, until Ctrl-C.

    Starts embedded servers unless REDIS_URL and MONGODB_URI say where others are; restarts what dies.

    Example: backline up --music ~/Music
    """
    settings = with_data(data)
    folders = tuple(folder.expanduser().absolute() for folder in music or ())
    for folder in folders:
        if not folder.is_dir():
            raise WrongInput(f"There is no folder {folder}.", hint="Name an existing folder for --music.")
    chosen: dict[str, Any] = {} if workers is None else {"workers": workers}
    return run_foreground(
        StackOptions(
            data_dir=settings.data_dir,
            music_roots=(*settings.music_roots, *folders),
            port=settings.api_port if port is None else port,
            **chosen,
        )
    )
