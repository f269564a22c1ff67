"""The page that Prometheus reads: what this process counted, the whole's state, the workers' counts, the disks."""

from __future__ import annotations

from wsgiref.simple_server import WSGIServer

from anyio import CapacityLimiter, to_thread
from prometheus_client import generate_latest, start_http_server
from prometheus_client.registry import Collector

from api.metrics.counted import Counted
from api.metrics.state import State
from shared.exposition import Disks, WorkerCounts, joined
from shared.model import Db
from shared.settings import Settings


class MetricsPage:
    """Everything that one API process has to say."""

    def __init__(self, counted: Counted, db: Db, settings: Settings) -> None:
        """Put the sources together; the servers are asked when the page is."""
        disks = Disks([("data", settings.data_dir), ("indexes", settings.index_dir)])
        collectors: list[Collector] = [counted.registry, State(db, settings), disks]
        if settings.metrics_dir is not None:
            collectors.append(WorkerCounts(settings.metrics_dir))
        self.registry = joined(*collectors)
        self._one_at_a_time = CapacityLimiter(1)

    async def text(self) -> bytes:
        """Return the page."""
        # A thread of its own: those of the requests may all be waiting for a server that hangs.
        return await to_thread.run_sync(generate_latest, self.registry, limiter=self._one_at_a_time)

    def serve(self, host: str, port: int) -> WSGIServer:
        """Serve the page at a port of its own, to whoever reaches it, from a thread; return the server."""
        server, _ = start_http_server(port, host, self.registry)
        return server
