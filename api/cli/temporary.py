"""A stack that lives for one call of the command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from api.cli.client import Client
from api.cli.connection import with_data
from api.cli.inputs import Entry, music_roots
from deploy.stack import StackOptions, temporary_stack

ROOTS_BYTES_MAX = 64 * 1024  # the kernel lets one variable of the environment be 128 KiB long


@contextmanager
def start_temporary(data: Path | None, entries: Sequence[Entry]) -> Iterator[Client]:
    """Start a stack that may read the entries, on the data folder of the running ones, so that what is known stays."""
    settings = with_data(data)
    roots = (*settings.music_roots, *few_enough(music_roots(entries)))
    options = StackOptions(data_dir=settings.data_dir, music_roots=roots, quiet=True)
    with temporary_stack(options) as stack, Client(stack.url) as client:
        yield client


def few_enough(roots: Sequence[bytes]) -> list[Path]:
    """Return the folders, or the one that holds them all where they are too many to hand on."""
    if roots and sum(len(root) + 1 for root in roots) > ROOTS_BYTES_MAX:
        roots = [os.path.commonpath(roots)]
    return [Path(os.fsdecode(root)) for root in roots]
