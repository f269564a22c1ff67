"""A stack that lives for one call of the command."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from api.cli import output
from api.cli.client import Client
from api.cli.connection import with_data
from api.cli.inputs import Entry, music_roots
from deploy.errors import DataFolderInUse
from deploy.stack import RunningStack, StackOptions, read_running_stack, temporary_stack

TURN_SECONDS = 0.5  # between two looks whether the data folder is free
ROOTS_BYTES_MAX = 64 * 1024  # the kernel lets one variable of the environment be 128 KiB long


class Started(NamedTuple):
    """What a call works with."""

    client: Client
    is_own: bool  # False where a stack that lasts came up while the call waited for its turn


@contextmanager
def start_temporary(data: Path | None, entries: Sequence[Entry]) -> Iterator[Started]:
    """Start a stack that may read the entries, on the data folder of the running ones, so that what is known stays.

    Another call may be doing the same on that folder: then this one waits until it has finished, for two stacks
    would only fight over the processor, and what the other finds out need not be found out again.
    """
    settings = with_data(data)
    roots = (*settings.music_roots, *few_enough(music_roots(entries)))
    options = StackOptions(data_dir=settings.data_dir, music_roots=roots, quiet=True)
    with ExitStack() as cleanup:
        running = _start_in_turn(options, settings.data_dir, cleanup)
        client = cleanup.enter_context(Client(running.url, running.key))
        yield Started(client, running.is_temporary)
        if running.is_temporary:
            output.say("Stopping the stack that was started for this call.")


def _start_in_turn(options: StackOptions, data_dir: Path, cleanup: ExitStack) -> RunningStack:
    """Start a stack as soon as the data folder is free, or return the lasting one that has come up there."""
    waits = False
    if not output.stderr().is_terminal:  # there, a line that changes says what is being done
        output.say("No Backline runs on the data folder: starting one for this call.")
    while True:
        try:
            return cleanup.enter_context(temporary_stack(options))
        except DataFolderInUse as error:
            running = read_running_stack(data_dir)
            if running is not None and not running.is_temporary:
                return running
            if not waits:
                output.say(f"{error.message} Waiting until that is done; --data DIR would not wait.")
            waits = True
        time.sleep(TURN_SECONDS)


def few_enough(roots: Sequence[bytes]) -> list[Path]:
    """Return the folders, or the one that holds them all where they are too many to hand on."""
    if roots and sum(len(root) + 1 for root in roots) > ROOTS_BYTES_MAX:
        roots = [os.path.commonpath(roots)]
    return [Path(os.fsdecode(root)) for root in roots]
