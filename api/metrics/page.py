"""The page that Prometheus reads: what this process counted, the whole's state, the workers' counts, the disks."""

from __future__ import annotations

from anyio import CapacityLimiter, to_thread

from api.metrics.counted import Counted
from api.metrics.state import State
from shared.exposition import Disks, WorkerCounts, exposed
from shared.model import Db
from shared.settings import Settings


class MetricsPage:
    """Everything that one API process has to say."""

    def __init__(self, counted: Counted, db: Db, settings: Settings) -> None:
        """Put the sources together; the servers are asked when the page is."""
        self._registry = counted.registry
        self._collectors = [State(db, settings), Disks([("data", settings.data_dir), ("indexes", settings.index_dir)])]
        if settings.metrics_dir is not None:
            self._collectors.append(WorkerCounts(settings.metrics_dir))
        self._one_at_a_time = CapacityLimiter(1)

    async def text(self) -> bytes:
        """Return the page."""
        # A thread of its own: those of the requests may all be waiting for a server that hangs.
        return await to_thread.run_sync(self._text, limiter=self._one_at_a_time)

    def _text(self) -> bytes:
        return exposed(self._registry, *self._collectors)
