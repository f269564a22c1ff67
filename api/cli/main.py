"""The console script `backline`."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from api.cli.commands import Commands
from api.cli.errors import CommandError, ExitCode, to_line
from shared.errors import BacklineError, WrongSetting

EPILOG = (
    "Exit codes: 0 all is done; 1 a job ended with failed or unreached items, or a part is down; 2 wrong usage;"
    " 3 no Backline answers; 4 Backline refused; 70 a mistake in this program; 130 Ctrl-C."
)

app = typer.Typer(
    name="backline",
    cls=Commands,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"backline {version('backline')}\n")
        raise typer.Exit


@app.callback()
def root(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Batched heavy work for music and media assistants: start it, feed it, follow it.

    Examples:

      backline extract ~/Music --output features.csv

      backline up --music ~/Music
    """


def main() -> None:
    """Run the command that the shell asks for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; whatever goes wrong is one line on standard error."""
    try:
        code = app(list(arguments), prog_name="backline", standalone_mode=False)
        sys.stdout.flush()
        # Typer answers Ctrl-C with this code; what has more to say about it has raised `Interrupted`.
        return _fail("Interrupted.", code) if code == ExitCode.INTERRUPTED else int(code or ExitCode.OK)
    except typer.TyperException as error:
        message = error.format_message().rstrip(".")
        # Without a message, the help was shown in place of a command that is missing.
        return _fail(f"{message}. See --help.", ExitCode.USAGE) if message else ExitCode.USAGE
    except CommandError as error:
        return _fail(to_line(error), error.exit_code)
    except WrongSetting as error:
        return _fail(to_line(error), ExitCode.USAGE)
    except BacklineError as error:
        return _fail(to_line(error), ExitCode.NOT_ALL_GOOD)
    except UnicodeEncodeError:
        return _fail("The command line or its input holds a character that is no valid Unicode.", ExitCode.USAGE)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing must be flushed to it at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.NOT_ALL_GOOD
    except OSError as error:
        return _fail(f"{error.filename or 'A file'}: {error.strerror or error}.", ExitCode.NOT_ALL_GOOD)
    except Exception as error:  # noqa: BLE001 - the last door: a person gets a line, never a traceback
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(place.filename)}:{place.lineno}"
        return _fail(f"A mistake in Backline itself: {error!r} at {where}. Please report it.", ExitCode.INTERNAL)


def _fail(line: str, code: int) -> int:
    sys.stderr.write(f"backline: {' '.join(line.split())}\n")
    return code


if __name__ == "__main__":
    main()
