"""The options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli.export import Format

Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="URL", help="A running Backline; else BACKLINE_URL, or what runs on the data folder."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="The data folder of the stack on this machine; else BACKLINE_DATA_DIR, else ~/.local/share/backline.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, and nothing else.")]
User = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="The user whose jobs and tracks these are; else local.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the results here; - for standard output.")
]
FormatName = Annotated[
    Format | None, typer.Option("--format", "-f", help="How to write the results; without it, the file's name says.")
]
