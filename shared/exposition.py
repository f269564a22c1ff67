"""Numbers in the form in which Prometheus reads them: this process's own, and those that workers left in files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

COUNTS = "*.db"
"""The files in which worker processes count, one per kind of number and place in the pool."""


class WorkerCounts(Collector):
    """What the worker processes of one folder have counted, added up over all that ever counted there."""

    def __init__(self, folder: Path) -> None:
        """Name the folder, which need not exist yet."""
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Yield the sums; a file that a worker is only just making is left for the next time."""
        files = [str(path) for path in self._folder.glob(COUNTS) if path.stat().st_size > 0]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


class Disks(Collector):
    """How full the disks are that hold these folders."""

    def __init__(self, folders: Sequence[tuple[str, Path]]) -> None:
        """Take folders under the names that stand in the label."""
        self._folders = folders

    def collect(self) -> Iterator[Metric]:
        """Yield size and free space of each folder that this process can see."""
        free = GaugeMetricFamily("backline_disk_free_bytes", "Free space on the disk of a folder", labels=("folder",))
        size = GaugeMetricFamily("backline_disk_size_bytes", "Size of the disk of a folder", labels=("folder",))
        for name, path in self._folders:
            if path.is_dir():
                usage = shutil.disk_usage(path)
                free.add_metric((name,), usage.free)
                size.add_metric((name,), usage.total)
        yield from (free, size)


def joined(*collectors: Collector) -> CollectorRegistry:
    """Return a registry of all these, each asked only when the page is."""
    page = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        page.register(collector)
    return page


def empty(folder: Path) -> None:
    """Delete what workers of an earlier start counted, so that names which exist no more are gone with it."""
    if folder.is_dir():
        for path in folder.glob(COUNTS):
            os.unlink(path)
