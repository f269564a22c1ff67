"""A job kind for tests only: items that count, sleep, fail, crash, hang or run out of quota on demand.

Workers and API load it with ``BACKLINE_JOB_MODULES=tests.kinds``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from pymongo import UpdateOne
from pymongo.errors import AutoReconnect

from shared.broker import Queue
from shared.clock import now
from shared.errors import ItemFailed, NotYet, QuotaSpent
from shared.items import ItemOutcome, ItemStatus, succeeded
from shared.jobs.job import FollowUp, JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor


class Request(JobRequest):
    """How many items, and what is wrong with some of them (by index)."""

    items: int = 10
    seconds: float = 0.0  # each item's length
    fails: tuple[int, ...] = ()  # fail in every epoch
    fails_once: tuple[int, ...] = ()  # fail in epoch 0 only
    raises: tuple[int, ...] = ()  # fail in a way that the kind does not know
    crashes: tuple[int, ...] = ()  # kill the worker process
    crashes_once: tuple[int, ...] = ()  # kill the first worker process only
    outages: int = 0  # so often MongoDB is gone when an item comes to its work
    hangs: tuple[int, ...] = ()  # sleep for ever
    hangs_locked: tuple[int, ...] = ()  # hang in C, with the interpreter's lock held
    hungers: tuple[int, ...] = ()  # ask for more memory than any worker may have
    quota: tuple[int, ...] = ()  # find an outside budget spent the first time
    quota_seconds: float = 1.0
    plan_fails_at: int | None = None
    merge_fails: bool = False
    plan_seconds: float = 0.0  # how long the plan takes over each item


class Item(Body):
    """A number."""

    number: int


class Result(Body):
    """The number's square."""

    number: int
    square: int


class Summary(Body):
    """What there is after the job."""

    merged: int
    good: int


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the numbers behind the cursor."""
    for number in range(int((cursor or {}).get("next", 0)), request.items):
        if number == request.plan_fails_at:
            raise RuntimeError("the plan can't go on")
        if request.plan_seconds:
            time.sleep(request.plan_seconds)
        yield Planned(item=Item(number=number), cursor={"next": number + 1})


def work(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Square each number, or go wrong as was asked."""
    for item in items:
        if request.seconds:
            time.sleep(request.seconds)
        _go_wrong(request, item.number, context)
        context.db["squarings"].insert_one({"jobId": context.job_id, "number": item.number, "at": now()})
        yield succeeded(Result(number=item.number, square=item.number**2))


def _go_wrong(request: Request, number: int, context: JobContext) -> None:
    if number in request.fails or (number in request.fails_once and context.epoch == 0):
        raise ItemFailed("odd_number", f"{number} was asked to fail.")
    if number in request.raises:
        raise ValueError(f"{number} is not what was expected")
    if number in request.crashes or (number in request.crashes_once and _is_first(context, "crash", number)):
        os.kill(os.getpid(), signal.SIGKILL)
    if any(_is_first(context, f"outage{n}", number) for n in range(request.outages)):
        raise AutoReconnect("the connection broke off")
    if number in request.hangs:
        time.sleep(3600)
    if number in request.hangs_locked:
        ctypes.PyDLL(None).sleep(3600)
    if number in request.hungers:
        bytearray(8 << 30)
    if number in request.quota and _is_first(context, "quota", number):
        raise QuotaSpent("the budget is spent", resumes_at=now() + timedelta(seconds=request.quota_seconds))


def _is_first(context: JobContext, what: str, number: int) -> bool:
    """Whether this is the first time that this item goes wrong in this way."""
    query = {"_id": f"{context.job_id}:{what}:{number}"}
    return context.db["firsts"].update_one(query, {"$set": query}, upsert=True).upserted_id is not None


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Store the squares under their user and number."""
    if request.merge_fails:
        raise RuntimeError("the merge can't go on")
    context.library["squares"].bulk_write(
        [
            UpdateOne({"_id": f"{context.user_id}:{item.number}"}, {"$set": {"square": result.square}}, upsert=True)
            for item, result in pairs
        ]
    )


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Count."""
    owned = {"_id": {"$gte": f"{context.user_id}:", "$lt": f"{context.user_id};"}}
    return Summary(merged=context.library["squares"].count_documents(owned), good=counts[ItemStatus.SUCCEEDED])


class _Staged(JobRequest):
    """How many numbers are to be squared before they are added up, and by which job that one is followed."""

    items: int = 10
    fails_once: tuple[int, ...] = ()
    waits_once: bool = False  # the sum is not to be had at first
    wait_seconds: float = 0.0
    then_items: int = 0


class _StagedAgain(_Staged):
    """The same, where a retry adds up again."""


class _StagedItem(Body):
    """A number, or the sum of those before it."""

    number: int | None = None


class _Sum(Body):
    """What a step came to."""

    number: int | None
    total: int


def _plan_stages(request: _Staged, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    start = int((cursor or {}).get("next", 0))
    numbers = (*range(request.items), None)
    for place in range(start, len(numbers) if request.items else 0):
        yield Planned(item=_StagedItem(number=numbers[place]), cursor={"next": place + 1})


def work_staged(request: _Staged, items: Sequence[_StagedItem], context: JobContext) -> Iterator[ItemOutcome]:
    """Square each number; add up what others have squared."""
    for item in items:
        if item.number is not None:
            if item.number in request.fails_once and context.epoch == 0:
                raise ItemFailed("odd_number", f"{item.number} was asked to fail.")
            query = {"_id": f"{context.job_id}:{item.number}"}
            context.db["stages"].update_one(query, {"$set": {"square": item.number**2}}, upsert=True)
            yield succeeded(_Sum(number=item.number, total=item.number**2))
            continue
        if request.waits_once and _is_first(context, "wait", -1):
            raise NotYet("the sum is not to be had yet", resumes_at=now() + timedelta(seconds=request.wait_seconds))
        found = context.db["stages"].find({"_id": {"$gte": f"{context.job_id}:", "$lt": f"{context.job_id};"}})
        yield succeeded(_Sum(number=None, total=sum(one["square"] for one in found)))


class _Plain(JobRequest):
    """A request for work that touches nothing."""

    items: int = 10
    seconds: float = 0.0


class _Rationed(_Plain):
    """The same, for work that is said to cost others something."""


def noop(request: _Plain, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Do nothing for each item."""
    for item in items:
        if request.seconds:
            time.sleep(request.seconds)
        yield succeeded(Result(number=item.number, square=0))


SQUARES = JobKind(
    name="squares",
    title="Square numbers",
    description="Square the numbers below `items`.",
    queue=Queue.CPU,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="tests.kinds:work",
    merge=merge,
    summarise=summarise,
    item_seconds=1.0,
    chunk_items_max=10,
)

NOOP = JobKind(
    name="noop",
    title="Do nothing",
    description="Yield `items` results without work.",
    queue=Queue.CPU,
    request=_Plain,
    item=Item,
    result=Result,
    summary=Summary,
    plan=lambda request, cursor, context: plan(Request(items=request.items), cursor, context),
    work="tests.kinds:noop",
    merge=lambda request, pairs, context: None,
    summarise=lambda request, counts, context: Summary(merged=0, good=counts[ItemStatus.SUCCEEDED]),
    item_seconds=1.0,
    chunk_items_max=10,
)

RATIONED = replace(
    NOOP,
    name="rationed",
    title="Do nothing, now and then",
    description="Yield `items` results as if a provider had been asked.",
    request=_Rationed,
    asks_providers=True,
)

STAGED = JobKind(
    name="staged",
    title="Add up squares",
    description="Square the numbers below `items`, then add them up.",
    queue=Queue.CPU,
    request=_Staged,
    item=_StagedItem,
    result=_Sum,
    summary=Summary,
    plan=_plan_stages,
    work="tests.kinds:work_staged",
    merge=lambda request, pairs, context: None,
    summarise=lambda request, counts, context: Summary(merged=0, good=counts[ItemStatus.SUCCEEDED]),
    chunk_items_max=10,
    last_step=lambda item: Queue.INDEX if item.number is None else None,
    follow_up=lambda request, context: (
        FollowUp(kind="noop", request={"items": request.then_items}) if request.then_items else None
    ),
    may_be_empty=True,
)

STAGED_AGAIN = replace(
    STAGED,
    name="staged_again",
    title="Add up squares, again where need be",
    description="Square the numbers below `items`, then add them up, and again after a retry.",
    request=_StagedAgain,
    steps_again=True,
)

KINDS = (SQUARES, NOOP, RATIONED, STAGED, STAGED_AGAIN)
