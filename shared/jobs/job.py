"""The form that each job kind fills in, and the small values that pass through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import BaseModel, Field

from shared.access import Scope
from shared.broker import Queue
from shared.items import ItemOutcome, ItemStatus
from shared.model import Body, Cursor, Db, Json
from shared.settings import Settings
from shared.store.database import library
from shared.store.job_record import JobRecord


class JobRequest(Body):
    """What every kind's request has."""

    user_id: str = Field(
        default="local", min_length=1, max_length=256, description="Whose job this is, and whose its results are"
    )


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One item of a plan, and the cursor from which the plan goes on behind it."""

    item: BaseModel  # the kind's Item
    cursor: Cursor


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """What every step of a kind may know of the job that it serves."""

    job_id: str
    owner: str  # the tenant that submitted it
    user_id: str  # the user of theirs that the results are for
    epoch: int  # 0 at first; each retry adds one
    db: Db  # what all owners share: the engine's own records, and what is known of contents and files
    settings: Settings

    @classmethod
    def of(cls, job: JobRecord, db: Db, settings: Settings) -> Self:
        """Return the context of a job."""
        return cls(job_id=job.id, owner=job.owner, user_id=job.user_id, epoch=job.epoch, db=db, settings=settings)

    @property
    def library(self) -> Db:
        """The owner's own database: what the job yields stands there, and nobody else's jobs reach it."""
        return library(self.db, self.owner)


Plan = Callable[[Any, Cursor | None, JobContext], Iterator[Planned]]
Work = Callable[[Any, Sequence[Any], JobContext], Iterator[ItemOutcome]]
Merge = Callable[[Any, Sequence[tuple[Any, Any]], JobContext], None]
Summarise = Callable[[Any, Mapping[ItemStatus, int], JobContext], Body]
Present = Callable[[Sequence[Json], JobContext], list[Json]]


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """A job that is to come after another one, for the same owner and user."""

    kind: str
    request: Json


Step = Callable[[Any], Queue | None]
Follow = Callable[[Any, JobContext], FollowUp | None]


def no_step(item: Any) -> Queue | None:
    """Say of every item that it may be worked on beside the others."""
    return None


def no_follow_up(request: Any, context: JobContext) -> FollowUp | None:
    """Have nothing come after a job."""
    return None


def present_as_stored(results: Sequence[Json], context: JobContext) -> list[Json]:
    """Show each item's result as its outcome holds it."""
    return list(results)


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """A kind of job: its models, how its work is laid out, done, merged and summed up.

    From the registry of kinds come the REST route and its OpenAPI, the MCP tool, the command line's
    validation and the worker's dispatch, with no further code.
    """

    name: str  # snake_case; the last part of the route, the tool and the command
    title: str  # a few words, for people
    description: str  # when to use it, and what it yields
    queue: Queue  # where its chunks run
    scope: Scope = Scope.JOBS_WRITE  # what a key must let its holder do to submit one
    request: type[JobRequest]  # what a client sends
    item: type[BaseModel]  # the smallest piece of work that can fail by itself
    result: type[BaseModel]  # what one good item yields; kept small, in the outcome
    summary: type[BaseModel]  # what the whole job yields
    plan: Plan
    """Yield the items lazily, in an order that a cursor can resume; called again for every window."""
    work: str
    """``package.module:function`` that only a worker resolves: one outcome per item, in order."""
    merge: Merge
    """Write the good results of a chunk under keys that make a repeat harmless."""
    summarise: Summarise
    present: Present = present_as_stored
    item_seconds: float = 1.0  # a first guess of an item's length, until the job has its own figure
    chunk_items_min: int = 1  # where work costs by the call and not by the item, for chunks that fill their calls
    chunk_items_max: int = 100  # bounds a chunk's memory and the work that a crash repeats
    crashes_max: int = 2  # so many workers may die in one item before it is left out
    slots_share: float = 1.0  # which part of the worker slots may be at one job of it at once; at least one slot is
    item_seconds_max: float | None = None  # in place of the setting of this name, where an item may rightly take longer
    last_step: Step = no_step
    """Return a queue for an item that needs what all before it have yielded: it begins when they have ended, alone, on
    that queue, and what comes behind it begins when it has ended. A retry keeps that order, and repeats what failed
    alone: a step whose result is worth little where others failed has failed, too, or is one of a kind whose
    `steps_again` holds."""
    steps_again: bool = False  # a retry of what came before a step repeats the step, too, however well it went
    follow_up: Follow = no_follow_up
    """Return the job that is submitted when one of this kind has yielded something, once."""
    may_be_empty: bool = False  # a request that leads to nothing is fine, and its job has succeeded
    examples: tuple[Json, ...] = ()  # request bodies for the documentation
    asks_providers: bool = False  # it spends budgets at others' services, so its submits are rationed
    tool: str | None = None  # what an assistant calls to submit one, a verb first; else submit_<name>

    @property
    def tool_name(self) -> str:
        """The name of the tool that submits a job of this kind."""
        return self.tool or f"submit_{self.name}"
