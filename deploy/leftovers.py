"""Whatever a stack left running: noted while it lives, ended in order when its launcher is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.data_folder import read_private, write_private
from deploy.processes import ProcessIdentity, marked_processes

POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Noted:
    """One process of a stack: its part, when its turn to stop comes, and how long it may take."""

    part: str
    turn: int
    patience_seconds: float
    identity: ProcessIdentity


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """All processes of one stack."""

    stack_id: str
    launcher: ProcessIdentity
    processes: tuple[Noted, ...] = ()

    def write(self, path: Path) -> None:
        """Put the record at `path`."""
        write_private(
            path,
            {
                "stackId": self.stack_id,
                "launcher": _to_json(self.launcher),
                "processes": [
                    {"part": n.part, "turn": n.turn, "patienceSeconds": n.patience_seconds, **_to_json(n.identity)}
                    for n in self.processes
                ],
            },
        )

    @classmethod
    def read(cls, path: Path) -> ProcessRecord | None:
        """Return the record at `path`, or None when there is none that can be understood."""
        document = read_private(path)
        if document is None:
            return None
        try:
            noted = tuple(
                Noted(
                    part=str(entry["part"]),
                    turn=int(entry["turn"]),
                    patience_seconds=float(entry["patienceSeconds"]),
                    identity=_from_json(entry),
                )
                for entry in document["processes"]
            )
            launcher = _from_json(document["launcher"])
            return cls(stack_id=str(document["stackId"]), launcher=launcher, processes=noted)
        except (KeyError, TypeError, ValueError):
            return None


def _to_json(identity: ProcessIdentity) -> dict[str, int | str]:
    return {"pid": identity.pid, "startTime": identity.start_time}


def _from_json(entry: dict[str, int | str]) -> ProcessIdentity:
    return ProcessIdentity(pid=int(entry["pid"]), start_time=str(entry["startTime"]))


def end_leftovers(record: ProcessRecord, *, patience_seconds: float) -> list[str]:
    """End every process of a dead launcher's stack, workers before servers; return the parts that still ran.

    Each turn gets its own patience, but at most `patience_seconds`. Processes that started after
    somebody else's pid was reused are never touched: pid and start time, or the stack's mark, must agree.
    """
    living = [noted for noted in record.processes if noted.identity.is_alive()]
    for turn in sorted({noted.turn for noted in living}):
        _end([noted for noted in living if noted.turn == turn], patience_seconds)
    _kill(marked_processes(record.stack_id))
    return [noted.part for noted in living]


def _end(processes: Sequence[Noted], patience_seconds: float) -> None:
    identities = [noted.identity for noted in processes]
    for identity in identities:
        identity.signal(signal.SIGTERM)
    limit = min(max(noted.patience_seconds for noted in processes), patience_seconds)
    _wait_for_end(identities, limit)
    _kill(identities)


def _kill(identities: Iterable[ProcessIdentity]) -> None:
    killed = list(identities)
    for identity in killed:
        identity.signal(signal.SIGKILL)
    _wait_for_end(killed, 5.0)


def _wait_for_end(identities: Sequence[ProcessIdentity], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(identity.is_alive() for identity in identities) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
