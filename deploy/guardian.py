"""A small process beside the launcher that stops its stack in order if the launcher is killed.

Run as ``python -m deploy.guardian DATA_DIR STACK_ID PID START_TIME [--remove]`` with a pipe from the launcher as
standard input: a byte says that all was stopped properly, the pipe's end that the launcher is gone. A parent-death
signal could not do this: it would strike the servers at the same moment as the workers that still write to them.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deploy.data_folder import DataFolder
from deploy.leftovers import ProcessRecord, end_leftovers
from deploy.processes import ProcessIdentity

ALL_WELL = b"."
LOOK_SECONDS = 1.0
CALM_LOOK_SECONDS = 60.0
"""Between two looks where the launcher's end wakes us; only for the case that another process had its id by then."""
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


class Guardian:
    """The launcher's end of it."""

    def __init__(
        self, folder: DataFolder, stack_id: str, *, environment: Mapping[str, str], remove_folder: bool
    ) -> None:
        """Start the guardian of this process's stack `stack_id`."""
        me = ProcessIdentity.own()
        command = [sys.executable, "-m", "deploy.guardian", str(folder.path), stack_id, str(me.pid), me.start_time]
        self._process = subprocess.Popen(
            [*command, "--remove"] if remove_folder else command,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Tell it that nothing is left to do, and wait for its end."""
        assert self._process.stdin is not None
        with suppress(OSError), self._process.stdin as pipe:
            pipe.write(ALL_WELL)
        self._process.wait()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.guardian")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("stack_id")
    parser.add_argument("pid", type=int)
    parser.add_argument("start_time")
    parser.add_argument("--remove", action="store_true", help="the folder is temporary: remove it as well")
    return parser.parse_args()


def launcher_is_done(launcher: ProcessIdentity) -> bool:
    """Wait until the launcher says goodbye (True) or is gone without a word (False)."""
    pipe, ends = sys.stdin.fileno(), _readable_at_the_end_of(launcher.pid)
    while True:
        readable, _, _ = select.select([pipe, *ends], [], [], CALM_LOOK_SECONDS if ends else LOOK_SECONDS)
        word = os.read(pipe, 1) if pipe in readable else b""
        if word == ALL_WELL:
            return True
        # The pipe can stay open in a process that the launcher forked, so its end alone is not trusted.
        if not launcher.is_alive():
            return False
        if readable:
            time.sleep(POLL_SECONDS)  # its files are closed, but it has not quite ended


def _readable_at_the_end_of(pid: int) -> list[int]:
    """Return a file descriptor that wakes us when that process ends, where there is such a thing (Linux)."""
    try:
        return [os.pidfd_open(pid)]
    except (AttributeError, OSError):
        return []


def clean_up(folder: DataFolder, stack_id: str) -> None:
    """End the stack's processes and remove its notes, unless a new launcher has taken over."""
    record = ProcessRecord.read(folder.processes_file)
    if record is None or record.stack_id != stack_id:
        return
    end_leftovers(record, patience_seconds=PATIENCE_SECONDS)
    left = ProcessRecord.read(folder.processes_file)
    if left is not None and left.stack_id == stack_id:
        folder.stack_file.unlink(missing_ok=True)
        folder.processes_file.unlink(missing_ok=True)


def main() -> None:
    """Watch over one stack."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    arguments = _arguments()
    if launcher_is_done(ProcessIdentity(pid=arguments.pid, start_time=arguments.start_time)):
        return
    clean_up(DataFolder(arguments.data_dir), arguments.stack_id)
    if arguments.remove:
        shutil.rmtree(arguments.data_dir, ignore_errors=True)


if __name__ == "__main__":
    main()
