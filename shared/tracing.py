"""Traces of the work, from a request to the merge of its last chunk.

They cost nothing where nobody asked for them: OpenTelemetry is imported by `shared.otel` alone, which is loaded when
OTEL_EXPORTER_OTLP_ENDPOINT says where spans are to go. A job keeps the span that it was submitted in, its
`traceparent`: a doorbell may be lost, or ring for another job's chunk, so the job alone can tell what a worker's work
belongs to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Protocol

from shared import logs
from shared.settings import Settings

logger = logging.getLogger(__name__)

Attributes = Mapping[str, str | int]

NEW = ""
"""In place of a `traceparent`: a trace of its own."""


class Tracer(Protocol):
    """What makes spans."""

    def span(self, name: str, *, within: str | None, attributes: Attributes) -> AbstractContextManager[object]:
        """Make the block a span of the trace of a `traceparent`, or of the present one."""

    def traceparent(self) -> str | None:
        """Return the present span in W3C's form; None outside of every trace that is recorded."""

    def trace_id(self) -> str | None:
        """Return the id of the present trace, if it is recorded."""

    def fail(self, error: Exception) -> None:
        """Mark the present span as failed."""

    def close(self) -> None:
        """Send what has not been sent yet."""


_tracer: Tracer | None = None


def begin(settings: Settings, part: str) -> None:
    """Trace this process, `backline-api` say, if the settings say where to; after a fork, never before."""
    if not settings.otlp_endpoint or _tracer is not None:
        return
    try:
        otel = import_module("shared.otel")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        logger.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but nothing is traced: %s is not installed (pip install"
            " 'backline[tracing]')",
            error.name,
        )
        return
    use(otel.traced(settings, part))


def use(tracer: Tracer | None) -> None:
    """Have this make the spans from now on; None makes none."""
    global _tracer
    _tracer = tracer
    logs.show_trace(None if tracer is None else tracer.trace_id)


def end() -> None:
    """Send what has not been sent yet, and trace no more."""
    if _tracer is not None:
        _tracer.close()
    use(None)


@contextmanager
def running(settings: Settings, part: str) -> Iterator[None]:
    """Trace this process for the length of the block, if the settings say where to."""
    begin(settings, part)
    try:
        yield
    finally:
        end()


@contextmanager
def span(name: str, *, within: str | None = None, **attributes: str | int) -> Iterator[None]:
    """Make the block a span of the trace of a `traceparent`, or of the present one; `NEW` begins one.

    Attributes are written with `_` for the dots of their names, `backline_job_id`. An exception that leaves the block
    marks the span as failed.
    """
    if _tracer is None:
        yield
        return
    dotted = {key.replace("_", ".", 1): value for key, value in attributes.items()}
    with _tracer.span(name, within=within, attributes=dotted):
        yield


def fail(error: Exception) -> None:
    """Mark the present span as failed, where the error ends there."""
    if _tracer is not None:
        _tracer.fail(error)


def traceparent() -> str | None:
    """Return the present span in W3C's form, for others to go on from; None where there is none."""
    return None if _tracer is None else _tracer.traceparent()
