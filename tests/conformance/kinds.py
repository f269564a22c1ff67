"""The job kinds that the suite's scenarios name: slow, failing, broken, asking; real jobs for real workers.

Workers and API load them with ``BACKLINE_JOB_MODULES=tests.conformance.kinds``. `tool` is what the scenarios call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import Field

from shared.broker import Queue
from shared.clock import now
from shared.errors import QuotaSpent
from shared.items import ItemOutcome, ItemStatus, failed, succeeded
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor, Json
from tests.conformance import questions

SLICE_SECONDS = 0.25
"""A sleep is cut into items of this length, so that a cancelled job ends soon."""
ASK_AGAIN = timedelta(seconds=0.5)
"""How long a job that waits for an answer is parked, without a worker, before it looks for one."""
NAME_SCHEMA: Json = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CONFIRM_SCHEMA: Json = {"type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"]}


class Item(Body):
    """One of a job's items."""

    key: str


class Done(Body):
    """What an item yields."""

    key: str
    said: Json | None = None


class Summary(Body):
    """What a job yields."""

    text: str


def _planned(keys: Sequence[str], cursor: Cursor | None) -> Iterator[Planned]:
    for place in range(int((cursor or {}).get("next", 0)), len(keys)):
        yield Planned(item=Item(key=keys[place]), cursor={"next": place + 1})


def done(request: JobRequest, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Have nothing to do."""
    for item in items:
        yield succeeded(Done(key=item.key))


# Slow


class Sleep(JobRequest):
    """How long to sleep, and what for."""

    seconds: float = Field(default=1.0, ge=0, le=600)
    label: str = ""


def plan_sleep(request: Sleep, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Cut the sleep into slices."""
    return _planned([f"slice {n}" for n in range(max(1, math.ceil(request.seconds / SLICE_SECONDS)))], cursor)


def sleep(request: Sleep, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Sleep for a slice."""
    for item in items:
        time.sleep(min(request.seconds, SLICE_SECONDS))
        yield succeeded(Done(key=item.key))


# Failing

ONE = ("all",)


def plan_one(request: JobRequest, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Have a single item."""
    return _planned(ONE, cursor)


def fail(request: JobRequest, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Fail as a tool does that ran."""
    for _ in items:
        yield failed("asked_to_fail", "This job was asked to fail.")


def plan_nothing(request: JobRequest, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Break, as code does that nobody foresaw."""
    raise RuntimeError("the plan is broken")


# Asking

TWO = ("first", "second")


class Deletion(JobRequest):
    """What is to be deleted, if somebody agrees."""

    filename: str


def plan_two(request: JobRequest, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Have an item for each of two questions."""
    return _planned(TWO, cursor)


def ask(request: JobRequest, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Ask for every item at once, and park the job until its answer is there."""
    about, keys = (request.filename, ONE) if isinstance(request, Deletion) else ("this", TWO)
    for key in keys:  # those of the other chunks as well, so that somebody is asked everything at once
        questions.ask(context.db, context.job_id, key, f"Do you agree to {about} ({key})?", CONFIRM_SCHEMA)
    for item in items:
        answer = questions.answer_to(context.db, context.job_id, item.key)
        if answer is None:
            raise QuotaSpent("somebody has been asked", resumes_at=now() + ASK_AGAIN)
        yield succeeded(Done(key=item.key, said=answer.get("content")))


# Greeting


class Greeting(JobRequest):
    """Whom to greet."""

    name: str


def _summary(text: Callable[[Any], str]) -> Callable[[Any, Mapping[ItemStatus, int], JobContext], Summary]:
    return lambda request, counts, context: Summary(text=text(request))


def _kind(name: str, title: str, request: type[JobRequest], plan: Any, work: str, said: Any, tool: str) -> JobKind:
    return JobKind(
        name=name,
        title=title,
        description=f"A fixture of the conformance suite: {title.lower()}.",
        queue=Queue.CPU,
        request=request,
        item=Item,
        result=Done,
        summary=Summary,
        plan=plan,
        work=f"tests.conformance.kinds:{work}",
        merge=lambda request, pairs, context: None,
        summarise=_summary(said),
        item_seconds=SLICE_SECONDS,
        chunk_items_max=4,
        tool=tool,
    )


SLOW = _kind(
    "slow", "Sleep", Sleep, plan_sleep, "sleep", lambda one: f"Slept {one.seconds:g} s: {one.label}", "slow_compute"
)
FAILING = _kind("failing", "Fail", JobRequest, plan_one, "fail", lambda _: "Failed.", "submit_failing")
BROKEN = _kind("broken", "Break", JobRequest, plan_nothing, "done", lambda _: "Broken.", "protocol_error_job")
CONFIRMED = _kind(
    "confirmed", "Ask, then delete", Deletion, plan_one, "ask", lambda one: f"Deleted {one.filename}.", "confirm_delete"
)
TWICE_ASKED = _kind(
    "twice_asked", "Ask twice at once", JobRequest, plan_two, "ask", lambda _: "Both answered.", "multi_input"
)
GREETING = _kind("greeting", "Greet", Greeting, plan_one, "done", lambda one: f"Hello, {one.name}!", "submit_greeting")

KINDS = (SLOW, FAILING, BROKEN, CONFIRMED, TWICE_ASKED, GREETING)
