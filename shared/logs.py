"""The log of every process: JSON lines for machines, readable ones on a terminal, each with what it is about.

Modules log by `logging.getLogger(__name__)` as usual. What a line is about (request, job, chunk, owner) is bound by
whoever begins with it, and stands on every line until the block ends, whichever module writes it.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

import structlog
from structlog.typing import Processor

from shared.keys import PREFIX
from shared.settings import LogFormat, Settings

OURS = ("api", "deploy", "shared", "workers", "celery")
"""Whose lines are shown from the level of the settings on; what libraries say is shown from WARNING on."""

SHOWN = ("request", "job", "chunk", "owner", "trace")
"""What a line may be about, in the order in which it is shown."""

INDENT = "    "
"""Before each line of a traceback in readable logs: so its lines are known to belong to the line above them."""

_about: ContextVar[Mapping[str, str | int]] = ContextVar("about", default={})  # noqa: B039 - never changed in place

_trace_id: Callable[[], str | None] | None = None

_SECRETS = re.compile(
    rf"({PREFIX}_[a-z2-7]{{10}}_)[A-Za-z0-9_-]{{20,}}"  # keys; what names them stays
    r"|(://[^/\s:@]*:)[^@\s/]+(?=@)"  # passwords in addresses
    r"|((?i:bearer)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|((?i:basic)\s+)[A-Za-z0-9+/=]{24,}"
    # Of OAuth 2, in forms and in JSON.
    r"|((?i:access_token|refresh_token|code_verifier|client_secret)['\"]?\s*[:=]\s*['\"]?)[A-Za-z0-9._~+/=-]{8,}"
)


@contextmanager
def about(**values: str | int | None) -> Iterator[None]:
    """Have every line within the block, in threads that it starts too, bear these values; None says nothing."""
    token = _about.set({**_about.get(), **{name: value for name, value in values.items() if value is not None}})
    try:
        yield
    finally:
        _about.reset(token)


def current(name: str) -> str | None:
    """Return what the present line would be about, such as its `request`."""
    value = _about.get().get(name)
    return None if value is None else str(value)


def show_trace(trace_id: Callable[[], str | None] | None) -> None:
    """Have every line bear the id of the trace that it belongs to; None where nothing is traced."""
    global _trace_id
    _trace_id = trace_id


def set_up(settings: Settings, *, level: int | None = None, stream: TextIO | None = None) -> None:
    """Send this process's log to standard error, in the form that the settings ask for.

    A `level` of the command line shows more than the settings do, never less: Celery's own default is less.
    """
    out = stream or sys.stderr
    is_json = settings.log_format is LogFormat.JSON or (settings.log_format is LogFormat.AUTO and not out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(is_json=is_json, is_coloured=not is_json and out.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    wanted = logging.getLevelNamesMapping()[settings.log_level.upper()]
    for name in OURS:
        logging.getLogger(name).setLevel(wanted if level is None else min(level, wanted))
    for name, own in settings.log_levels.items():
        logging.getLogger(name).setLevel(own.upper())


def _formatter(*, is_json: bool, is_coloured: bool) -> logging.Formatter:
    first: list[Processor] = [_with_about, structlog.stdlib.add_log_level, _with_place]
    if is_json:
        stamp: Processor = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
        last: list[Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            _without_secrets,
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False, key="time")
        last = [structlog.processors.format_exc_info, _without_secrets, _Line(is_coloured=is_coloured)]
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[*first, stamp], processors=[remove, *last])


def _with_about(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.update(_about.get())
    if _trace_id is not None and (trace := _trace_id()) is not None:
        event["trace"] = trace
    return event


def _with_place(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    event["process"] = record.processName
    return event


def _without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = without_secrets(value)
    return event


def without_secrets(text: str) -> str:
    """Return a text with `***` in place of keys, tokens and codes of OAuth 2, and the passwords of addresses."""
    return _SECRETS.sub(lambda found: f"{next(filter(None, found.groups()))}***", text)


COLOURS = {"warning": "33", "error": "31", "critical": "31"}


class _Line:
    """Renders a line for people: time, level, words, what it is about; a traceback below, indented."""

    def __init__(self, *, is_coloured: bool) -> None:
        self._is_coloured = is_coloured

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> str:
        level = event["level"]
        shown = f"\x1b[{COLOURS[level]}m{level:<7}\x1b[0m" if self._is_coloured and level in COLOURS else f"{level:<7}"
        fields = "".join(f" {name}={event[name]}" for name in SHOWN if name in event)
        words = str(event["event"]).replace("\n", f"\n{INDENT}")
        line = f"{event['time']} {shown} {words}{fields}"
        trace = event.get("exception")
        return line if trace is None else f"{line}\n{INDENT}" + str(trace).replace("\n", f"\n{INDENT}")
