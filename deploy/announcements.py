"""What `backline up` says of its stack: lines for people, or events for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO

from deploy.parts import FLOWER_USER
from deploy.running import RunningStack
from shared.errors import BacklineError


class Announcements(Protocol):
    """What there is to say of a stack, in order."""

    def phase(self, phase: str) -> None:
        """Tell what its start waits for."""

    def ready(self, stack: RunningStack) -> None:
        """Tell that it serves."""

    def stopped(self) -> None:
        """Tell that nothing of it is left."""

    def failure(self, failure: BacklineError) -> None:
        """Tell why it ended by itself, or did not start."""


class AnnouncementsForPeople:
    """Lines on standard output, and what went wrong on standard error."""

    def phase(self, phase: str) -> None:
        """Leave it to the status line."""

    def ready(self, stack: RunningStack) -> None:
        """Tell where everything is, and what may be read."""
        _say("\n".join(_welcome(stack)), to=sys.stdout)

    def stopped(self) -> None:
        """Say nothing: the log has said so."""

    def failure(self, failure: BacklineError) -> None:
        """Tell it in one line."""
        _say(f"backline: {failure.message} {failure.advice}".rstrip(), to=sys.stderr)


class AnnouncementsForPrograms:
    """One JSON object a line on standard output: `starting` with each phase, `ready`, then `stopped` or `failed`."""

    def __init__(self) -> None:
        self._phase = ""

    def phase(self, phase: str) -> None:
        """Tell each phase once."""
        if phase != self._phase:
            self._phase = phase
            self._tell("starting", phase=phase)

    def ready(self, stack: RunningStack) -> None:
        """Tell where everything is, and what may be read."""
        self._tell(
            "ready",
            url=stack.url,
            flowerUrl=stack.flower_url,
            keyFile=str(stack.key_file),
            dataDir=str(stack.data_dir),
            musicRoots=[str(root) for root in stack.music_roots],
            pid=stack.launcher.pid,
            startedAt=stack.started_at.isoformat(),
        )

    def stopped(self) -> None:
        """Tell that nothing of it is left."""
        self._tell("stopped")

    def failure(self, failure: BacklineError) -> None:
        """Tell its code, what happened, and what to do."""
        self._tell("failed", code=failure.code, message=failure.message, advice=failure.advice)

    def _tell(self, event: str, **values: Any) -> None:
        _say(json.dumps({"event": event, **values}), to=sys.stdout)


def _welcome(stack: RunningStack) -> Iterator[str]:
    yield f"Backline is up: {stack.url}"
    yield f"  Flower  {stack.flower_url} (user {FLOWER_USER}, and the key as password)"
    yield f"  Key     {stack.key_file} (for curl and other programs; `backline` finds it by itself)"
    if sys.stdout.isatty():  # never into a log: whoever has the link has the key
        yield f"  Routes  {stack.url}/api/docs#key={stack.key}"
    yield f"  Data    {stack.data_dir}"
    for root in stack.music_roots:
        yield f"  Music   {root}{_flaw(root)}"
    if not stack.music_roots:
        yield "  Music   no folder may be read, so every file is refused: stop, and start with --music DIR"
    yield "  Stop    Ctrl-C (twice to hurry)"


def _flaw(root: Path) -> str:
    if not root.is_dir():
        return " (there is no such folder)"
    return "" if is_readable(root) else " (can't be read by this user)"


def is_readable(folder: Path) -> bool:
    """Whether this user may list a folder and open what is in it."""
    return os.access(folder, os.R_OK | os.X_OK)


def _say(text: str, *, to: TextIO) -> None:
    # A path may hold bytes that the terminal's encoding doesn't know.
    encoding = to.encoding or "utf-8"
    to.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    to.flush()
