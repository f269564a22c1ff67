"""Keeping parts alive: start in order, restart what ends, stop in order, say why when it can't go on."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event

from deploy.errors import PartFailed, PartMisconfigured, ServerGaveUp
from deploy.log import LAUNCHER, StackLog
from deploy.parts import Part, Turn
from deploy.processes import Child, status_in_words, work_of
from deploy.servers import Server, ServerRefuses, ServerSilent
from shared.startup import MISCONFIGURED

POLL_SECONDS = 0.05
BUSY_PART = 0.05
"""Of a core, above which a process counts as busy; one that hangs takes less."""
CALM_POLL_SECONDS = 0.5
"""Between two looks at a stack that is up: so long the end of a part may go unnoticed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient the launcher is; the defaults suit everything but a test."""

    start_seconds: float = 90.0
    """Until all parts are ready."""
    backoff_seconds: float = 0.5
    """Before the first restart of a part; doubled each time."""
    backoff_seconds_max: float = 30.0
    stable_seconds: float = 60.0
    """After this long without trouble, earlier trouble is forgotten."""
    ends_while_starting: int = 3
    """How often a part may end before everything was ready once."""
    server_ends: int = 4
    """How often a server may end within the time that makes it stable."""
    health_seconds: float = 5.0
    """Between two health checks of a server."""
    refusing_seconds: float = 10.0
    """How long a server may answer with errors before it is restarted, once."""
    silent_seconds: float = 60.0
    """How long a server may not answer at all: recovery after a crash and a busy disk take their time."""
    sick_seconds: float = 5.0
    """How long a server that does not work may take to end before its restart."""
    free_mb_at_start: int = 300
    """Space that embedded servers want to begin with; their journal alone takes 128 MB."""
    free_mb: int = 100
    """With less, everything is stopped in order: collections made on a full disk can't be read afterwards."""
    hurry_seconds: float = 2.0
    """What is left to each part after a second signal to stop."""


class Kept:
    """One part that is kept running."""

    def __init__(self, part: Part, *, start: Callable[[Part], Child], log: StackLog, limits: Limits) -> None:
        """Prepare; `keep` starts it."""
        self.part = part
        self.child: Child | None = None
        self.ends = 0
        self.last_status = 0
        self._last_words = "no output"
        self._start, self._log, self._limits = start, log, limits
        self._started = self._due = 0.0
        self._work: tuple[float, int | None] = (0.0, None)

    def keep(self) -> bool:
        """Start it if it is due, note its end if it has ended; say whether either happened."""
        now = time.monotonic()
        if self.child is None:
            if now < self._due:
                return False
            self._try_to_start(now)
            return True
        if self.child.has_ended():
            self.last_status = self.bury()
            self._note_end(now, status_in_words(self.last_status))
            return True
        if self.ends and now - self._started > self._limits.stable_seconds:
            self.ends = 0
        return False

    def _try_to_start(self, now: float) -> None:
        try:
            self.child = self._start(self.part)
        except PartFailed as error:
            if not self._started:
                raise
            self._note_end(now, f"can't be started ({error.message})")  # for the moment: memory may be short
        self._started = now

    def _note_end(self, now: float, what: str) -> None:
        self.ends += 1
        pause = min(self._limits.backoff_seconds * 2 ** (self.ends - 1), self._limits.backoff_seconds_max)
        self._due = now + pause
        self._log.write(LAUNCHER, f"{self.part.name} {what}; it is started again in {pause:.1f} s")

    def has_ended(self) -> bool:
        """Say whether it does not run."""
        return self.child is None or self.child.has_ended()

    def works_on(self) -> bool:
        """Say whether it has done a part of what a process can do since this was last asked."""
        if self.child is None:
            return False
        (was_at, was), now = self._work, time.monotonic()
        work = work_of(self.child.pid)
        self._work = now, work
        return was is not None and work is not None and work - was > (now - was_at) * BUSY_PART * 1000

    def bury(self) -> int:
        """Kill what is left of it; return its exit status (0 if it does not run)."""
        if self.child is None:
            return 0
        child, self.child = self.child, None
        status = child.bury()
        self._last_words = last_line(child.lines)
        return status

    def last_words(self) -> str:
        """Return the last line that it wrote."""
        return self._last_words if self.child is None else last_line(self.child.lines)


def last_line(lines: Sequence[str]) -> str:
    """Return the last of a process's lines, which mostly says why it ended."""
    return lines[-1].strip() if lines else "no output"


class KeptServer(Kept):
    """A server that is kept running, and asked whether it works."""

    def __init__(self, server: Server, *, start: Callable[[Part], Child], log: StackLog, limits: Limits) -> None:
        """Prepare; `keep` starts it."""
        super().__init__(server.part, start=start, log=log, limits=limits)
        self.server = server
        self.is_healthy = False
        self._well_since = self._sick_since = self._next_check = 0.0
        self._sick_restarts = 0

    def keep(self) -> bool:
        """Like any part, and restart it if it does not work.

        Raises:
            ServerGaveUp: it failed again after that, or ended too often.
        """
        changed = super().keep()
        if self.ends >= self._limits.server_ends:
            raise ServerGaveUp(f"{self.part.name} ended {self.ends} times: {self.last_words()}.")
        if changed:
            self.is_healthy, self._sick_since, self._next_check = False, time.monotonic(), 0.0
        elif self.child is not None and time.monotonic() >= self._next_check:
            self._check(self.child)
        return changed

    def _check(self, child: Child) -> None:
        try:
            self.server.check(child.pid, child.lines)
        except ServerSilent as error:
            self._sick(f"does not answer ({error})", self._limits.silent_seconds)
        except ServerRefuses as error:
            self._sick(f"answers with errors ({error})", self._limits.refusing_seconds)
        else:
            self._well()

    def _well(self) -> None:
        now = time.monotonic()
        if not self.is_healthy:
            self.is_healthy, self._well_since = True, now
        if now - self._well_since > self._limits.stable_seconds:
            self._sick_restarts = 0
        self._next_check = now + self._limits.health_seconds

    def _sick(self, trouble: str, tolerance_seconds: float) -> None:
        now = time.monotonic()
        if self.is_healthy:
            self.is_healthy, self._sick_since = False, now
            self._log.write(LAUNCHER, f"{self.part.name} {trouble}")
        was_well_once = self._well_since > 0
        self._next_check = now + min(1.0, self._limits.health_seconds) if was_well_once else now
        if now - self._sick_since < tolerance_seconds:
            return
        if self._sick_restarts:
            raise ServerGaveUp(f"{self.part.name} {trouble}, also after a restart.")
        self._sick_restarts += 1
        self._log.write(LAUNCHER, f"{self.part.name} {trouble}; it is restarted once")
        end_together([self], patience_seconds=self._limits.sick_seconds)


def end_together(
    kept: Sequence[Kept],
    *,
    patience_seconds: float = math.inf,
    hurry: Event | None = None,
    hurry_seconds: float = 0.0,
) -> None:
    """Ask these parts to end, wait as long as each may take, then kill the rest.

    None gets more than `patience_seconds`, and once `hurry` is set, more than `hurry_seconds` from then. A part that
    may take its time while it is busy gets its patience anew as long as it is.
    """
    started = time.monotonic()
    limits = {entry: started + min(entry.part.patience_seconds, patience_seconds) for entry in kept}
    for entry in kept:
        entry.works_on()
    _signal_all(kept, signal.SIGTERM)
    while waiting := [entry for entry in kept if entry.child is not None]:
        if hurry is not None and hurry.is_set():
            hurry = None
            _signal_all(waiting, signal.SIGTERM)
            limits = {entry: min(limit, time.monotonic() + hurry_seconds) for entry, limit in limits.items()}
        for entry in waiting:
            if entry.has_ended():
                entry.bury()
            elif (moment := time.monotonic()) > limits[entry]:
                longest = min(entry.part.busy_seconds, patience_seconds)
                if moment - started < longest and entry.works_on():
                    limits[entry] = min(moment + entry.part.patience_seconds, started + longest)
                else:
                    entry.bury()
        time.sleep(POLL_SECONDS)


def _signal_all(kept: Sequence[Kept], number: int) -> None:
    for entry in kept:
        if entry.child is not None:
            entry.child.signal(number)


class Household:
    """All parts of one stack: servers first, then the rest."""

    def __init__(
        self,
        *,
        servers: Sequence[Server],
        parts: Sequence[Part],
        environment: Mapping[str, str],
        log: StackLog,
        limits: Limits,
    ) -> None:
        """Prepare; `keep` starts what is due."""
        self._environment, self._log, self._limits = environment, log, limits
        self.servers = [KeptServer(server, start=self._start, log=log, limits=limits) for server in servers]
        self.others = [Kept(part, start=self._start, log=log, limits=limits) for part in parts]
        self.is_ready = False
        self._servers_were_ready = False

    @property
    def members(self) -> list[Kept]:
        """Everybody, servers first."""
        return [*self.servers, *self.others]

    def _start(self, part: Part) -> Child:
        def on_line(line: str) -> None:
            self._log.write(part.name, line)

        environment = {**self._environment, **part.environment}
        return Child(part.command, environment=environment, on_line=on_line, stdin=part.stdin)

    def keep(self) -> bool:
        """Start what is due and note what has ended; say whether any process changed."""
        changed = [server.keep() for server in self.servers]
        self._servers_were_ready |= all(server.is_healthy for server in self.servers)
        if self._servers_were_ready:
            changed += [other.keep() for other in self.others if other.part.is_awaited or self.is_ready]
        return any(changed)

    def refuse_false_starts(self) -> None:
        """Give up on a stack whose part ends again and again before it was ready.

        Raises:
            PartFailed: one did.
            PartMisconfigured: one says that it would do so for ever.
        """
        for other in self.others:
            words = other.last_words()
            if other.last_status == MISCONFIGURED:
                raise PartMisconfigured(f"{other.part.name} refuses to start: {words.removeprefix('backline: ')}")
            if other.ends >= self._limits.ends_while_starting:
                raise PartFailed(f"{other.part.name} ended {other.ends} times while starting: {words}")

    def waits_for(self) -> str:
        """Return, in a few words, what is not there yet."""
        names = [server.part.name for server in self.servers if not server.is_healthy]
        if not names:
            names = [other.part.name for other in self.others if other.part.is_awaited and other.child is None]
        return ", ".join(names)

    def end(self, hurry: Event) -> None:
        """Stop all, turn by turn."""
        for server in self.servers:
            server.server.close()  # the MongoDB server waits for its clients to go
        for turn in Turn:
            members = [kept for kept in self.members if kept.part.turn is turn]
            # Servers are never hurried: they keep the data.
            hurried = None if turn is Turn.SERVERS else hurry
            end_together(members, hurry=hurried, hurry_seconds=self._limits.hurry_seconds)
