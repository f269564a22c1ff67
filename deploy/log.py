"""One readable log of all parts: to a file that rotates, and to the terminal, which may stall without harm."""

from __future__ import annotations

import logging
import queue
import re
from contextlib import suppress
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Thread
from typing import Final

from rich.console import Console
from rich.text import Text

FILE_BYTES: Final = 10 * 1024 * 1024
FILES_KEPT: Final = 5
LINES_WAITING: Final = 10_000
LAUNCHER: Final = "launcher"
COLOURS: Final = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")

# What children put before their text is said by our own columns, except a level above the usual.
PREFIXES: Final = (
    re.compile(r"^\d\d:\d\d:\d\d (?P<own>[a-z]+) +"),  # Backline's own
    re.compile(r"^\[[\d:, -]+: (?P<level>[A-Z]+)/(?P<process>[\w-]+)\] "),  # Celery
    re.compile(r"^\d+:\w \d+ \w+ \d+ [\d:.]+ (?P<valkey>[.*#-]) "),  # Valkey
    re.compile(r"^\[[\d:TZ-]+ (?P<rust>[A-Z]+) +\w+\] "),  # the MongoDB server
    re.compile(r"^\[(?P<letter>[DIWEC]) \d{6} [\d:]+ [\w.:<>-]+\] "),  # Tornado, for Flower
)
# What is said every few seconds and says nothing stays out of the terminal.
ROUTINE: Final = re.compile(r"Sending due task (reap|tick) |Task backline\.(reap|tick)\[\S+ (received|succeeded)")
ORDINARY: Final = frozenset({"info", "debug", "INFO", "DEBUG", "*", "-", ".", "I", "D"})


def tidy(line: str) -> str:
    """Return a child's line without the time that ours carries; an unusual level stays."""
    for pattern in PREFIXES:
        found = pattern.match(line)
        if found:
            level = found.group(1)
            text = line[found.end() :]
            return text if level in ORDINARY else f"{level} {text}"
    return line


class QuietFileHandler(RotatingFileHandler):
    """A log file whose own trouble, such as a full disk, is never anybody's trouble."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the name is logging's
        """Lose the line."""


class StackLog:
    """The log of one stack."""

    def __init__(self, path: Path, *, console: Console | None) -> None:
        """Write to the file at `path` and, if given, to `console`."""
        self._file = QuietFileHandler(
            path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8", errors="backslashreplace"
        )
        self._console = console
        self._colours: dict[str, str] = {LAUNCHER: "bold white"}
        self._waiting: queue.Queue[tuple[str, str, str] | None] = queue.Queue(LINES_WAITING)
        self._printer = Thread(target=self._print_all, name="log-printer", daemon=True)
        if console is not None:
            self._printer.start()

    def write(self, part: str, line: str) -> None:
        """Add one line of `part`; never waits for the terminal."""
        moment, text = datetime.now().strftime("%H:%M:%S"), tidy(line)
        record = logging.LogRecord(part, logging.INFO, "", 0, f"{moment} {part:<8} | {text}", None, None)
        self._file.handle(record)
        if self._console is not None and not ROUTINE.search(text):
            with suppress(queue.Full):
                self._waiting.put_nowait((moment, part, text))

    def close(self) -> None:
        """Print what waits (for a moment at most) and close the file."""
        if self._printer.is_alive():
            with suppress(queue.Full):
                self._waiting.put(None, timeout=1)
            self._printer.join(timeout=2)
        with suppress(OSError):  # what a full disk didn't take
            self._file.close()

    def _print_all(self) -> None:
        assert self._console is not None
        with suppress(OSError):  # the terminal is gone; the file has it all
            while (entry := self._waiting.get()) is not None:
                self._console.print(self._coloured(*entry), soft_wrap=True)

    def _coloured(self, moment: str, part: str, text: str) -> Text:
        colour = self._colours.setdefault(part, COLOURS[len(self._colours) % len(COLOURS)])
        return Text.assemble((moment, "dim"), " ", (f"{part:<8}", colour), (" | ", "dim"), text)
