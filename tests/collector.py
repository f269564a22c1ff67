"""A collector of traces on loopback, which takes what OpenTelemetry's exporters send over HTTP and keeps it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

PATH = "/v1/traces"


@dataclass(frozen=True, kw_only=True)
class ReceivedSpan:
    """A span as a collector sees it; ids in hex, empty where there is none."""

    service: str
    scope: str  # the library that made it
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, str]


@dataclass(kw_only=True)
class Collector:
    """What has come in, and where."""

    url: str
    spans: list[ReceivedSpan] = field(default_factory=list)

    def of(self, trace: str) -> list[ReceivedSpan]:
        """Return what has come in of one trace."""
        return [span for span in list(self.spans) if span.trace == trace]

    def names(self, trace: str) -> set[str]:
        """Return what the spans of one trace are called."""
        return {span.name for span in self.of(trace)}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listen on a free port."""
    collector = Collector(url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            is_known = self.path == PATH
            if is_known:
                collector.spans += _read(body)
            self.send_response(200 if is_known else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, name="collector")
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(body: bytes) -> list[ReceivedSpan]:
    return [
        ReceivedSpan(
            service=_texts(resource.resource.attributes)["service.name"],
            scope=scope.scope.name,
            name=span.name,
            kind=SpanMessage.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            attributes=_texts(span.attributes),
        )
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _texts(pairs: Sequence[Any]) -> dict[str, str]:
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}
