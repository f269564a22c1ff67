"""The job kind `history_sync`: what connected users have played lately at Spotify, added to their listening history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import Field

from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor
from shared.store import connections


class Request(JobRequest):
    """Whose plays."""

    all_users: bool = Field(default=False, description="Every user of yours whose account is connected")


class Item(Body):
    """One user."""

    user_id: str


class Result(Body):
    """What was new of a user."""

    user_id: str
    plays: int = Field(description="Plays that were not stored yet")
    known: int = Field(description="Plays that were")
    until: datetime | None = Field(default=None, description="When the last of them was played")


class Summary(Body):
    """What came of all users."""

    users: int = Field(description="Users whose history is up to date")
    failed: int = Field(description="Users whose history could not be read; the items say why")


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the user, or all connected ones in their order."""
    after = str((cursor or {}).get("after", ""))
    if not request.all_users:
        if not after:
            yield Planned(item=Item(user_id=request.user_id), cursor={"after": request.user_id})
        return
    for user_id in connections.connected_user_ids(context.db, context.owner, after=after):
        yield Planned(item=Item(user_id=user_id), cursor={"after": user_id})


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Do nothing: plays are stored page by page, and only then is it noted how far that is."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Count the users."""
    good = sum(counts[status] for status in ItemStatus if status.is_good)
    return Summary(users=good, failed=counts[ItemStatus.FAILED])


KIND = JobKind(
    name="history_sync",
    tool="sync_listening_history",
    title="Sync the listening history",
    description=(
        "Add what a user has played lately at Spotify to their listening history, from where the last sync ended. Their"
        " account must be connected. Use allUsers for everybody who is."
    ),
    queue=Queue.IO,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.providers.history:sync",
    merge=merge,
    summarise=summarise,
    may_be_empty=True,
    item_seconds=0.5,
    chunk_items_max=20,
    asks_providers=True,
    examples=({"userId": "ada"}, {"allUsers": True}),
)
