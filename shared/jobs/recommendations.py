"""The job kind `recommendations`: what users may like, out of what they heard and rated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor
from shared.store import recommendations
from shared.store.indexes import IndexName
from shared.store.recommendations import BATCH_MAX
from shared.store.users import user_ids

INLINE_MAX = 10_000

UserId = Annotated[str, Field(min_length=1, max_length=256)]
Tag = Annotated[str, Field(min_length=1, max_length=256)]
Id = Annotated[str, Field(min_length=1, max_length=512)]


class Request(JobRequest):
    """For whom, out of what, and what for."""

    user_ids: tuple[UserId, ...] = Field(
        default=(), max_length=INLINE_MAX, description="The users; without them and allUsers, the one of userId"
    )
    all_users: bool = Field(
        default=False, description="Everybody who stands in `users`, `listening_history` or `ratings`"
    )
    index: IndexName = Field(default=IndexName.CATALOGUE, description="What is recommended from")
    limit: int = Field(default=20, ge=1, le=BATCH_MAX, description="How many for each user")
    context: str | None = Field(
        default=None, max_length=1000, description="What for, in words: 'something light for a weekend'"
    )
    liked_tags: tuple[Tag, ...] = Field(default=(), max_length=50, description="Tags that should come, besides taste")
    exclude: tuple[Id, ...] = Field(default=(), max_length=INLINE_MAX, description="Ids that must not come")
    expires_days: float = Field(
        default=8.0, gt=0, le=365, description="For so long they are shown: a weekly job has a day to spare"
    )

    @model_validator(mode="after")
    def _is_for_somebody(self) -> Self:
        if self.user_ids and self.all_users:
            raise ValueError("give userIds or allUsers, not both")
        if self.context is not None and not self.context.strip():
            raise ValueError("context has no words: leave it out, or say what for")
        return self


class Item(Body):
    """A user."""

    user_id: str


class Result(Body):
    """What a user got: it stands in the collection `recommendations`."""

    user_id: str
    index: IndexName
    recommended: int
    cold_start: bool = Field(description="Nothing was known that the user likes")
    created_at: datetime = Field(description="Of the batch; the newest is what holds")


class Summary(Body):
    """What the job came to."""

    users: int = Field(description="Users who got recommendations, or for whom nothing was left")
    failed: int


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the users that are named, in their order, or all there are, by id."""
    if request.all_users:
        for user_id in user_ids(context.library, after=str((cursor or {}).get("after", ""))):
            yield Planned(item=Item(user_id=user_id), cursor={"after": user_id})
        return
    named = list(dict.fromkeys(request.user_ids or (request.user_id,)))
    for place in range(int((cursor or {}).get("next", 0)), len(named)):
        yield Planned(item=Item(user_id=named[place]), cursor={"next": place + 1})


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Delete what an earlier attempt of this job has left; batches of other jobs stay to be judged."""
    for item, result in pairs:
        recommendations.delete_earlier_attempt(
            context.library, item.user_id, result.index, context.job_id, result.recommended
        )


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Count."""
    return Summary(users=sum(counts[one] for one in ItemStatus if one.is_good), failed=counts[ItemStatus.FAILED])


KIND = JobKind(
    name="recommendations",
    tool="recommend",
    title="Recommend",
    description=(
        "Work out what users may like, from what they heard and rated, and store it with a reason for each: read it"
        " with get_recommendations. It needs an index (a job vector_index)."
    ),
    queue=Queue.CPU,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.taste.job:recommend_to_users",
    merge=merge,
    summarise=summarise,
    item_seconds=0.05,
    chunk_items_max=200,
    may_be_empty=True,
    examples=(
        {"userId": "ada", "context": "something light for a weekend"},
        {"allUsers": True, "index": "tracks", "limit": 50},
    ),
)
