"""The life of one worker process: what is opened after the fork, and closed before the end."""

from __future__ import annotations

import logging
import resource
from pathlib import Path
from typing import Any

from billiard import current_process
from celery.signals import (
    celeryd_after_setup,
    setup_logging,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_shutdown,
    worker_shutting_down,
)

from shared import logs, tracing
from shared.broker import Queue, celery_app
from shared.errors import BacklineError
from shared.jobs import known_kinds
from shared.settings import get_settings
from shared.startup import refuse_newer_database, refused_in_one_line
from shared.store.database import connect
from workers import exposition
from workers.engine import counting
from workers.engine.heartbeat import Heartbeat
from workers.engine.process import WorkerProcess, stopping
from workers.engine.working import work_of
from workers.exposition import Port


class NotOpen(BacklineError):
    """This process was not opened as a worker process."""

    code = "worker_not_open"
    advice = "Run tasks in a Celery worker: `celery -A workers.app worker`."


_process: WorkerProcess | None = None
_heartbeat: Heartbeat | None = None
_port: Port | None = None


def process() -> WorkerProcess:
    """Return this worker process. Raises `NotOpen`."""
    if _process is None:
        raise NotOpen("No worker process was opened here.")
    return _process


def heartbeat() -> Heartbeat:
    """Return the heartbeat of this worker process. Raises `NotOpen`."""
    if _heartbeat is None:
        raise NotOpen("No worker process was opened here.")
    return _heartbeat


CHATTY = ("celery.app.trace", "celery.beat", "celery.worker.strategy")
"""They log every doorbell; the engine logs every chunk and job instead."""


@setup_logging.connect
def set_up_log(loglevel: int | None = None, **_: Any) -> None:
    """Log as all of Backline does, and keep doorbells out of it; Celery then leaves the log alone."""
    logs.set_up(get_settings(), level=loglevel)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _served_queues() -> tuple[Queue, ...]:
    consumed = celery_app().amqp.queues.consume_from
    return tuple(queue for queue in Queue if queue.value in consumed)


@celeryd_after_setup.connect
def load_work(**_: Any) -> None:
    """Import what this worker's kinds of job need before the fork, so that no first item pays for it.

    A kind whose work can't be found ends the worker at once, rather than its jobs later.
    """
    served = _served_queues()
    with refused_in_one_line():
        refuse_newer_database(get_settings())
        for kind in known_kinds().values():
            if kind.queue in served:
                work_of(kind)


MEMORY_ROOM = 4
"""A worker process may come to hold this much of the size above which it is replaced: then allocations fail."""


def limit_memory(megabytes: int) -> None:
    """Have this process's allocations fail beyond that, before the kernel picks a process of its own choice to end."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = megabytes << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


@worker_init.connect
def open_metrics_port(**_: Any) -> None:
    """Serve what the children will count, where a port is set."""
    global _port
    with refused_in_one_line():
        _port = exposition.open_port(get_settings())


@worker_shutdown.connect
def close_metrics_port(**_: Any) -> None:
    """Serve no more."""
    if _port is not None:
        _port.close()


def _count(sender: str) -> None:
    """Have this child count, where anybody reads it."""
    settings = get_settings()
    if _port is not None:
        _port.forget()
    folder: Path | None = settings.metrics_dir or (None if _port is None else _port.folder)
    if folder is not None:
        counting.begin(folder, f"{sender}-{current_process().index}".replace("_", "-").replace("/", "-"))


@worker_process_init.connect
def open_process(sender: str = "worker", **_: Any) -> None:
    """Connect and begin to beat; each child does so for itself, after the fork."""
    global _process, _heartbeat
    settings = get_settings()
    limit_memory(MEMORY_ROOM * settings.worker_memory_mb)
    _count(sender)
    tracing.begin(settings, "backline-worker")
    db = connect(settings, app_name="backline-worker")
    _process = WorkerProcess(db=db, settings=settings, worker=sender, queues=_served_queues())
    _heartbeat = Heartbeat(_process)
    _heartbeat.start()


@worker_process_shutdown.connect
def close_process(**_: Any) -> None:
    """Sign off and let go of the connections."""
    global _process, _heartbeat
    if _heartbeat is not None:
        _heartbeat.stop()
    if _process is not None:
        _process.db.client.close()
    tracing.end()
    _process = _heartbeat = None


@worker_shutting_down.connect
def ask_children_to_stop(**_: Any) -> None:
    """Have the children give their chunks back before their next item."""
    stopping.set()
