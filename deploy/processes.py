"""Child processes: told apart from strangers, never blocked by their output, ended with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from deploy.errors import PartFailed

PROC = Path("/proc")
STACK_MARK = "BACKLINE_STACK_ID"
"""The variable that every process of a stack inherits, so that its descendants can be found."""

LINE_BYTES_MAX = 16 * 1024  # a child that writes without end-of-line must not fill our memory
FIRST_LINES_KEPT = 100
LAST_LINES_KEPT = 40


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """One process, and not another one that got the same pid later."""

    pid: int
    start_time: str
    """When the kernel started it: clock ticks since boot on Linux, a date elsewhere; only ever compared."""

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Return the identity of the live process `pid`; a zombie counts as ended."""
        start_time = _start_time(pid)
        return None if start_time is None else cls(pid=pid, start_time=start_time)

    @classmethod
    def own(cls) -> ProcessIdentity:
        """Return this process's identity."""
        return cls(pid=os.getpid(), start_time=_start_time(os.getpid()) or "")

    def is_alive(self) -> bool:
        """Say whether this very process still runs."""
        return ProcessIdentity.of(self.pid) == self

    def signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.is_alive():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


def _start_time(pid: int) -> str | None:
    if not PROC.is_dir():
        return _start_time_from_ps(pid)
    try:
        # The name in parentheses may hold anything; the numbered fields start behind the last one.
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _start_time_from_ps(pid: int) -> str | None:
    found = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(found) < 2 or found[0].startswith("Z") else found[1].strip()


def work_of(pid: int) -> int | None:
    """Return how much a process has done: milliseconds of computing, and kilobytes written; only ever compared.

    None where that can't be seen (no Linux).
    """
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        written = (PROC / str(pid) / "io").read_text().partition("\nwrite_bytes: ")[2].partition("\n")[0]
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])
    return ticks * 1000 // os.sysconf("SC_CLK_TCK") + int(written or 0) // 1024


def marked_processes(stack_id: str) -> Iterator[ProcessIdentity]:
    """Yield every live process that descends from the stack `stack_id` (none where there is no /proc)."""
    mark = f"{STACK_MARK}={stack_id}".encode()
    for folder in PROC.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # ended in between, or another user's
            continue
        identity = ProcessIdentity.of(int(folder.name)) if mark in environment else None
        if identity is not None:
            yield identity


class Child:
    """A process of ours in its own session, whose output is read as it comes."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
        stdin: bytes = b"",
    ) -> None:
        """Start it, hand it `stdin`, and pass each line that it writes to `on_line` (in a thread)."""
        try:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches the launcher only; it knows the order
            )
        except OSError as error:
            raise PartFailed(f"{command[0]} can't be started: {error}.") from error
        self.pid = self._process.pid
        self.identity = ProcessIdentity.of(self.pid) or ProcessIdentity(pid=self.pid, start_time="")
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=LAST_LINES_KEPT)
        self._on_line = on_line
        self._reader = Thread(target=self._read, name=f"output-{self.pid}", daemon=True)
        self._reader.start()
        self._feed(stdin)

    def _feed(self, stdin: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError), self._process.stdin as pipe:
            pipe.write(stdin)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while line := pipe.readline(LINE_BYTES_MAX):
                text = line.decode(errors="replace").rstrip()
                if text:
                    self._keep(text)
                    self._on_line(text)

    def _keep(self, text: str) -> None:
        if len(self._first) < FIRST_LINES_KEPT:
            self._first.append(text)
        else:
            self._last.append(text)

    @property
    def lines(self) -> list[str]:
        """What it has written: the first lines, where servers say that they listen, and the last."""
        return [*self._first, *self._last.copy()]

    def has_ended(self) -> bool:
        """Say whether it has ended; its pid stays reserved until `bury`."""
        if self._process.returncode is not None:
            return True
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is not None
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is not None

    def signal(self, number: int) -> None:
        """Send it a signal if it still runs."""
        if not self.has_ended():
            self._process.send_signal(number)

    def bury(self) -> int:
        """Kill what is left of it and of the processes in its session; return its exit status."""
        if self._process.returncode is None:
            # Before its pid is given back, so that the group can't be somebody else's.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        status = self._process.wait()
        self._reader.join(timeout=5)
        return status


def status_in_words(status: int) -> str:
    """Return what an exit status says, such as ``was killed by SIGKILL`` or ``ended with status 1``."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
