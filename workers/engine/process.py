"""One worker process: its name, its database, its heartbeat, and whether it has been asked to stop."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass, field
from datetime import datetime

from shared.broker import Queue
from shared.clock import now
from shared.hosts import host_name
from shared.jobs.job import JobRequest
from shared.model import Db
from shared.settings import Settings
from shared.store.job_record import JobRecord
from workers.engine.progress import Progress

stopping = multiprocessing.Event()
"""Set in the parent when the worker is asked to stop; its children inherited it and give their chunks back."""


def start_tick(pid: int) -> int | None:
    """Return when a process of this host was started, in clock ticks since boot; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return None


def process_name(pid: int) -> str:
    """Return a name that no other process ever has, also when its id is used again."""
    return f"{host_name()}:{pid}:{start_tick(pid) or 0}"


def is_dead(name: str) -> bool:
    """Whether the process of this name ran on this host and has ended."""
    host, pid, started = name.rsplit(":", 2)
    return host == host_name() and str(start_tick(int(pid)) or 0) != started


@dataclass(frozen=True, kw_only=True)
class SeenJob:
    """A job as it was read at a moment, without its request."""

    job: JobRecord
    at: datetime


@dataclass(frozen=True, kw_only=True)
class WorkerProcess:
    """What the engine's steps need to know of the process that they run in."""

    db: Db
    settings: Settings
    worker: str = "worker"  # the Celery node that the process belongs to
    queues: tuple[Queue, ...] = ()
    name: str = field(default_factory=lambda: process_name(os.getpid()))
    started_at: datetime = field(default_factory=now)
    requests: dict[str, JobRequest] = field(default_factory=dict)  # by job id, the last few
    jobs: dict[str, SeenJob] = field(default_factory=dict)  # by id, the last few
    progress: Progress = field(default_factory=Progress)
