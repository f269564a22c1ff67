"""The spool: files that are unpacked once per machine, for every process there, until nobody has asked for a day."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

FOLDER = "spool"
"""Below the data folder."""
AGE_MAX_SECONDS = 86_400.0


def is_there(*paths: Path) -> bool:
    """Whether all of these files are there; then they are kept for another day."""
    try:
        for path in paths:
            os.utime(path)
    except OSError:
        return False
    return True


@contextmanager
def turn(folder: Path, name: str) -> Iterator[None]:
    """Let the processes that want the same file wait for the first of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears whole under its name, or not at all."""
    draft = path.with_suffix(".part")
    try:
        with draft.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        draft.rename(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def sweep(folder: Path, *, age_max_seconds: float = AGE_MAX_SECONDS) -> None:
    """Delete what nobody has asked for in a day."""
    oldest = time.time() - age_max_seconds
    for path in folder.iterdir():
        with suppress(OSError):  # somebody else sweeps as well
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
