"""Where processes of the heavy side count, and the port on which one that is started by itself serves the counts."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import PlatformCollector, ProcessCollector, start_http_server, values
from prometheus_client.values import MultiProcessValue

from shared.errors import WrongSetting
from shared.exposition import Disks, WorkerCounts, joined
from shared.settings import Settings

logger = logging.getLogger(__name__)


def count_into(folder: Path, place: str) -> None:
    """Have the counters that this process makes from now on live in files of `folder` that bear the name of its place.

    A place has one process at a time, and its successor counts on where it ended: so there are as many files as places,
    however often processes are replaced.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # the library reads it at each counter's making
    values.ValueClass = MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]  # not its process id


class Port:
    """The HTTP server of a worker's parent process or of a search server, and the folder that is counted into."""

    def __init__(self, settings: Settings) -> None:
        """Choose the folder; `open` listens."""
        self._settings = settings
        self._own_folder = Path(tempfile.mkdtemp(prefix="backline-metrics-")) if settings.metrics_dir is None else None
        self.folder = settings.metrics_dir or self._own_folder
        self._parent = os.getpid()
        self._server: WSGIServer | None = None
        self._thread: Thread | None = None

    def open(self) -> int:
        """Listen, and return the port. Raises `OSError` where it is taken."""
        assert self.folder is not None
        registry = joined(
            ProcessCollector(registry=None),
            PlatformCollector(registry=None),
            WorkerCounts(self.folder),
            Disks([("data", self._settings.data_dir), ("indexes", self._settings.index_dir)]),
        )
        self._server, self._thread = start_http_server(
            self._settings.metrics_port or 0, self._settings.metrics_host, registry
        )
        return int(self._server.server_port)

    def forget(self) -> None:
        """Let go of the parent's socket in a child, which would hold the port when the parent is gone."""
        if self._server is not None:
            self._server.socket.close()

    def close(self) -> None:
        """Stop listening and delete the folder, if it is the parent's own."""
        if os.getpid() != self._parent or self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)


def open_port(settings: Settings) -> Port | None:
    """Serve what will be counted, where a port is set; None where none is. Raises `WrongSetting` if it is taken."""
    if settings.metrics_port is None:
        return None
    port = Port(settings)
    try:
        number = port.open()
    except OSError as error:
        raise WrongSetting(f"BACKLINE_METRICS_PORT {settings.metrics_port} can't be used: {error}.") from error
    logger.info("numbers for Prometheus at http://%s:%d/metrics", settings.metrics_host, number)
    return port
