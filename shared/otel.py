"""OpenTelemetry behind `shared.tracing`: what is recorded, how spans find their traces, and where they go.

The variables OTEL_* set it up: OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS and _CERTIFICATE (OTLP over HTTP),
OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_* and OTEL_SDK_DISABLED.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from shared import tracing
from shared.errors import in_words
from shared.hosts import host_name
from shared.logs import without_secrets
from shared.settings import Settings

CLOSE_SECONDS = 3.0
"""For so long the end of a process waits for a collector that does not answer."""

PARTS_OF_A_TRACE = (SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER)
"""What begins no trace: a call to a server, a doorbell, and whoever answers it."""

_W3C = TraceContextTextMapPropagator()


class OnlyWithinTraces(Sampler):
    """Leaves out the calls and doorbells that belong to no trace, and asks another sampler about all else.

    Heartbeats, the reaper's looks, the beats' rings and the watchers' polls would each be a trace of its own: hundreds
    a minute, of an idle stack.
    """

    def __init__(self, chosen: Sampler) -> None:
        """Ask `chosen` about what is not left out."""
        self._chosen = chosen

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide on a span that is about to begin."""
        if kind in PARTS_OF_A_TRACE and not _span_in(parent_context).trace_flags.sampled:
            return SamplingResult(Decision.DROP)
        return self._chosen.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Return what the sampler is called where it is shown."""
        return f"OnlyWithinTraces({self._chosen.get_description()})"


def _span_in(context: Context | None) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


class OtelTracer:
    """Makes spans of Backline's own work."""

    def __init__(self, provider: TracerProvider) -> None:
        """Take what records them."""
        self._provider = provider
        self._tracer = provider.get_tracer("backline", version("backline"))

    @contextmanager
    def span(self, name: str, *, within: str | None, attributes: tracing.Attributes) -> Iterator[None]:
        """See `Tracer.span`."""
        context, links = _place(within)
        with self._tracer.start_as_current_span(
            name,
            context=context,
            attributes=dict(attributes),
            links=links,
            record_exception=False,  # its text may hold addresses and passwords
            set_status_on_exception=False,
        ):
            try:
                yield
            except Exception as error:
                self.fail(error)
                raise

    def fail(self, error: Exception) -> None:
        """See `Tracer.fail`."""
        present = trace.get_current_span()
        present.set_attribute("error.type", type(error).__qualname__)
        present.set_status(Status(StatusCode.ERROR, without_secrets(in_words(error))))

    def traceparent(self) -> str | None:
        """See `Tracer.traceparent`."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def trace_id(self) -> str | None:
        """See `Tracer.trace_id`."""
        current = _span_in(None)
        return format_trace_id(current.trace_id) if current.trace_flags.sampled else None

    def close(self) -> None:
        """See `Tracer.close`."""
        # Its own limit is half a minute, more than a worker has to end in.
        closing = Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


def _place(within: str | None) -> tuple[Context | None, list[Link]]:
    """Return the context that a span begins in, and what it is linked to; None for the present context.

    What was begun by a doorbell of the same trace is that doorbell's; what another trace's rang for, or none, belongs
    to the span that the job was submitted in.
    """
    present = _span_in(None)
    wanted = None if within is None else _W3C.extract({"traceparent": within}, Context())
    if wanted is None or (present.trace_flags.sampled and _span_in(wanted).trace_id == present.trace_id):
        return None, []
    return wanted, [Link(present)] if present.trace_flags.sampled else []


def provider_of(part: str, processor: SpanProcessor) -> TracerProvider:
    """Return what records the spans of a part, and hands them to a processor."""
    resource = Resource.create()
    own = {"service.version": version("backline"), "service.instance.id": f"{host_name()}:{os.getpid()}"}
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # OTEL_SERVICE_NAME names none
        own[SERVICE_NAME] = part
    provider = TracerProvider(resource=resource.merge(Resource(own)), shutdown_on_exit=False)  # `close` is bounded
    provider.sampler = OnlyWithinTraces(provider.sampler)
    provider.add_span_processor(processor)
    return provider


def traced(settings: Settings, part: str) -> OtelTracer:
    """Have the libraries of this process make spans, too, and send everything to where the environment says."""
    # The exporter reads the variable itself, which may stand in .env only.
    os.environ.setdefault("OTEL_EXPORTER_OTLP_ENDPOINT", settings.otlp_endpoint or "")
    provider = provider_of(part, BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)  # FastAPI and the MCP SDK look there
    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    PymongoInstrumentor().instrument(tracer_provider=provider)
    RedisInstrumentor().instrument(tracer_provider=provider)
    return OtelTracer(provider)
