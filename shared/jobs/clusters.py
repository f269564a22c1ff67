"""The job kind `clusters`: an index divided into groups of what is alike, as many as suit it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from pydantic import Field, model_validator

from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor
from shared.store import clusters, indexes
from shared.store.clusters import CLUSTERS_MAX
from shared.store.indexes import IndexName

TRIED_MAX = 24
"""So many numbers of groups are tried at most; of a wider range, ever sparser ones."""


class Request(JobRequest):
    """What is divided, and into how many groups."""

    index: IndexName = Field(default=IndexName.CATALOGUE, description="What is divided")
    space: str | None = Field(
        default=None,
        max_length=40,
        description="By likeness of what: text or audio; without it, of text in the catalogue and of audio in tracks",
    )
    k: int | None = Field(default=None, ge=2, le=CLUSTERS_MAX, description="So many groups; in place of a range")
    k_min: int = Field(default=2, ge=2, le=CLUSTERS_MAX, description="The fewest that may suit")
    k_max: int = Field(default=20, ge=2, le=CLUSTERS_MAX, description="The most that may suit, less than the entries")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.k is None and self.k_min > self.k_max:
            raise ValueError("kMin is above kMax")
        return self

    @property
    def tried(self) -> list[int]:
        """The numbers of groups that are tried."""
        if self.k is not None:
            return [self.k]
        count = self.k_max - self.k_min + 1
        if count <= TRIED_MAX:
            return list(range(self.k_min, self.k_max + 1))
        steps = (self.k_min * (self.k_max / self.k_min) ** (n / (TRIED_MAX - 1)) for n in range(TRIED_MAX))
        return sorted({round(one) for one in steps})


class Item(Body):
    """A number of groups to try; without one, the step that takes the best and stores the division."""

    k: int | None = None


class Result(Body):
    """How well a number of groups suits."""

    k: int
    silhouette: float = Field(description="Of a sample, -1 to 1; higher is better")
    is_stored: bool = False


class Summary(Body):
    """The division that was stored."""

    k: int | None = Field(description="How many groups; null where nothing was stored")
    silhouette: float | None
    labels: tuple[str, ...] = Field(description="Of the groups, the largest first")


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield each number that is tried, then the last step."""
    items = [*(Item(k=k) for k in _possible(request, context)), Item()]
    for place in range(int((cursor or {}).get("next", 0)), len(items)):
        yield Planned(item=items[place], cursor={"next": place + 1})


def _possible(request: Request, context: JobContext) -> Sequence[int]:
    """Return the numbers of groups that an index has entries for; the smallest where it has too few for any."""
    pointer = indexes.find(context.db, context.owner, request.index)
    most = request.tried[-1] if pointer is None else pointer.entries - 1
    return [k for k in request.tried if k <= most] or request.tried[:1]


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Keep what was found of each number, for the last step to choose from."""
    tried = {result.k: result.silhouette for item, result in pairs if item.k is not None}
    if tried:
        clusters.save_trials(context.library, context.job_id, tried)


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Return what stands there now, if this job has put it there."""
    found = [one for one in clusters.newest(context.library, request.index) if one.job_id == context.job_id]
    return Summary(
        k=len(found) or None,
        silhouette=found[0].silhouette if found else None,
        labels=tuple(one.label for one in found),
    )


KIND = JobKind(
    name="clusters",
    tool="find_clusters",
    title="Find clusters",
    description=(
        "Divide the catalogue or the analysed tracks into groups of what is alike, as many as suit them, each with a"
        " label, its size and what is typical of it: read them with get_clusters. It needs an index (a job"
        " vector_index)."
    ),
    queue=Queue.CPU,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.taste.cluster_job:divide",
    merge=merge,
    summarise=summarise,
    item_seconds=5.0,
    chunk_items_max=1,
    last_step=lambda item: Queue.CPU if item.k is None else None,
    examples=({"index": "tracks"}, {"index": "catalogue", "kMin": 5, "kMax": 50}),
)
