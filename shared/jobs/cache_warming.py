"""The job kind `cache_warming`: what is asked for most is fetched before it gets old, within a part of the budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from pydantic import Field

from shared.access import Scope
from shared.broker import Queue
from shared.cache_use import most_wanted
from shared.items import ItemStatus
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor, Json
from shared.providers import RedisLost, connect_redis

ENTRIES_MAX = 500


class Action(StrEnum):
    """What became of an entry."""

    WARMED = "warmed"
    FRESH = "fresh"  # it stays so until the next turn
    LEFT = "left"  # the part of the budget is used up


class Request(JobRequest):
    """How much is warmed, and for how long ahead."""

    limit: int = Field(default=100, ge=1, le=ENTRIES_MAX, description="How many of the entries asked for most")
    ahead_seconds: float = Field(
        default=900.0, ge=0, le=86_400, description="Entries that stay fresh for longer than this are left alone"
    )


class Item(Body):
    """One entry of the cache."""

    key: str
    recipe: Json
    fresh_seconds: float


class Result(Body):
    """What became of it."""

    key: str
    action: Action


class Summary(Body):
    """What was done."""

    entries: int = Field(description="Entries that were looked at")
    failed: int


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield what is asked for most, as it was when the job began; nothing where there is no cache."""
    left: list[Json] = _wanted(request, context) if cursor is None else cursor["left"]
    for place, one in enumerate(left, start=1):
        yield Planned(item=Item.model_validate(one), cursor={"left": left[place:]})


def _wanted(request: Request, context: JobContext) -> list[Json]:
    redis = connect_redis(context.settings)
    if redis is None:
        return []
    try:
        with redis:
            found = most_wanted(redis, request.limit)
    except RedisLost:
        return []
    return [Item(key=one.key, recipe=one.recipe, fresh_seconds=one.fresh_seconds).to_json() for one in found]


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Do nothing: the cache is not in MongoDB."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Count the entries."""
    good = sum(counts[status] for status in ItemStatus if status.is_good)
    return Summary(entries=good, failed=counts[ItemStatus.FAILED])


KIND = JobKind(
    name="cache_warming",
    tool="warm_cache",
    title="Warm the cache",
    description=(
        "Fetch what is asked for most of other providers before it gets old, within a part of what is left of their"
        " budgets. For operators: the cache is everybody's."
    ),
    queue=Queue.IO,
    scope=Scope.ADMIN,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.providers.warming:warm",
    merge=merge,
    summarise=summarise,
    may_be_empty=True,
    item_seconds=0.5,
    chunk_items_max=ENTRIES_MAX,
    chunk_items_min=ENTRIES_MAX,
    asks_providers=True,
    examples=({"limit": 100},),
)
