"""What one API process counts as requests come: rate, errors and duration of every route and tool, and submits."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds. Above the last are only those who wait for a job's end, or follow its events."""

OK, REFUSED, FAILED = "ok", "refused", "failed"
"""How a tool call ends: well, for the caller's mistake, or for one of ours or a server that is down."""


@dataclass(frozen=True, kw_only=True)
class _Requests:
    """The two numbers of one route, method and status, at hand."""

    count: Counter
    seconds: Histogram


class Counted:
    """The counters of one API process. Labels are names from the code, never from a request: there are few of them."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "backline_http_requests", "Requests answered", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "backline_http_request_seconds",
            "Time from a request's arrival to the end of its answer",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.open = Gauge("backline_http_requests_open", "Requests that are being answered", registry=self.registry)
        self._calls = Counter("backline_mcp_calls", "Tool calls answered", ("tool", "outcome"), registry=self.registry)
        self._call_seconds = Histogram(
            "backline_mcp_call_seconds",
            "Time that a tool call took",
            ("tool",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._submitted = Counter(
            "backline_jobs_submitted", "New jobs stored by the front doors", ("kind",), registry=self.registry
        )
        self._retried = Counter(
            "backline_jobs_retried", "Ended jobs that were queued again", ("kind",), registry=self.registry
        )
        self._asked = Gauge(
            "backline_search_asked", "Searches that the search server is asked for", registry=self.registry
        )
        self._queued = Gauge(
            "backline_search_queued", "Searches that wait in the API for their turn", registry=self.registry
        )
        self._overloaded = Counter(
            "backline_search_overloaded", "Searches refused because too many waited", registry=self.registry
        )
        self._known: dict[tuple[str, str, int], _Requests] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = self._known.get((method, route, status))
        if known is None:  # finding the labels takes longer than counting
            known = self._known[method, route, status] = _Requests(
                count=self._requests.labels(method, route, str(status)), seconds=self._seconds.labels(method, route)
            )
        known.count.inc()
        known.seconds.observe(seconds)

    def called(self, tool: str, outcome: str, seconds: float) -> None:
        """Count a tool call that ended `OK`, `REFUSED` or `FAILED`."""
        self._calls.labels(tool, outcome).inc()
        self._call_seconds.labels(tool).observe(seconds)

    def searching(self, asked: int, queued: int) -> None:
        """Note how many searches the search server is asked for, and how many wait for their turn."""
        self._asked.set(asked)
        self._queued.set(queued)

    def overloaded(self) -> None:
        """Count a search that was refused because too many waited, here or in the search server."""
        self._overloaded.inc()

    def submitted(self, kind: str) -> None:
        """Count a new job."""
        self._submitted.labels(kind).inc()

    def retried(self, kind: str) -> None:
        """Count a job that is tried again."""
        self._retried.labels(kind).inc()
