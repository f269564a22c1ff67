"""The work of the job kind `clusters`: each number of groups tried, then the best division named and stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from shared.clock import now
from shared.errors import ItemFailed
from shared.items import ItemOutcome, succeeded
from shared.jobs.clusters import Item, Request, Result
from shared.jobs.job import JobContext
from shared.store import clusters
from shared.store.clusters import Cluster, cluster_id
from workers.indexing.failures import as_job_failures
from workers.taste.collection import Collection
from workers.taste.current import Current, current
from workers.taste.kmeans import Division
from workers.taste.kmeans import divide as divide_vectors
from workers.taste.labelling import SAMPLE, name_group
from workers.taste.pool import title_of
from workers.taste.silhouette import silhouette
from workers.vectors.embedding import Floats
from workers.vectors.nearest import Rows

REPRESENTATIVES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class _Matter:
    """What is divided."""

    current: Current
    space: str
    rows: Rows
    vectors: Floats

    @property
    def collection(self) -> Collection:
        return self.current.collection


def divide(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield how well each number of groups suits; the last step stores the best."""
    with as_job_failures():
        for item in items:
            matter = _matter(request, context)
            yield succeeded(_tried(matter, item.k) if item.k is not None else _stored(request, matter, context))


def _matter(request: Request, context: JobContext) -> _Matter:
    found = current(context, request.index)
    space = request.space or found.collection.space
    if not found.collection.has_space(space):
        raise ItemFailed("no_such_space", f"The index {request.index.value!r} has no vectors of {space!r}.")
    rows, vectors = found.collection.snapshot.every_vector(space)
    return _Matter(current=found, space=space, rows=rows, vectors=vectors)


def _tried(matter: _Matter, k: int) -> Result:
    if len(matter.rows) <= k:
        message = f"{len(matter.rows)} entries with a vector can't be divided into {k} groups."
        raise ItemFailed("too_few_entries", message)
    return Result(k=k, silhouette=round(silhouette(matter.vectors, divide_vectors(matter.vectors, k)), 6))


def _stored(request: Request, matter: _Matter, context: JobContext) -> Result:
    """Divide by the number that suits best, the smallest of equals, and store the groups in place of the former."""
    trials = clusters.trials(context.library, context.job_id)
    possible = {k: found for k, found in trials.items() if k < len(matter.rows)}
    if not possible:
        raise ItemFailed("nothing_tried", "No number of groups could be tried: the other items of the job say why.")
    best = min(possible, key=lambda k: (-possible[k], k))
    division = divide_vectors(matter.vectors, best)
    moment = now()
    groups = sorted(range(best), key=lambda group: (-int(np.sum(division.labels == group)), group))
    batch, members = [], []
    for number, group in enumerate(groups, 1):
        cluster, ids = _cluster(request, matter, context, division, group, number, possible[best], moment)
        batch.append(cluster)
        members.append(ids)
    clusters.save(context.library, _told_apart(batch), members)
    clusters.delete_older(context.library, request.index, moment)
    return Result(k=best, silhouette=possible[best], is_stored=True)


def _cluster(
    request: Request,
    matter: _Matter,
    context: JobContext,
    division: Division,
    group: int,
    number: int,
    suits: float,
    moment: datetime,
) -> tuple[Cluster, list[str]]:
    places = np.flatnonzero(division.labels == group)
    ids = matter.collection.snapshot.ids_at(matter.rows[places])
    nearest = np.argsort(-division.cosines[places], kind="stable")
    typical = [ids[place] for place in nearest[:REPRESENTATIVES]]
    naming = name_group(matter.collection, matter.rows[places], [ids[place] for place in nearest[:SAMPLE]])
    cluster = Cluster(
        id=cluster_id(request.index, context.job_id, number),
        index=request.index,
        space=matter.space,
        snapshot=matter.current.pointer.snapshot,
        job_id=context.job_id,
        number=number,
        of=len(division.middles),
        size=len(ids),
        label=naming.label,
        tags=tuple(naming.tags),
        features=dict(naming.features),
        representatives=tuple(typical),
        titles=tuple(title_of(matter.collection.entry(one)) for one in typical),
        cohesion=round(float(division.cosines[places].mean()), 4),
        silhouette=suits,
        created_at=moment,
    )
    return cluster, ids


def _told_apart(batch: Sequence[Cluster]) -> list[Cluster]:
    """Add what is most typical to labels that several groups have."""
    counts = Counter(one.label for one in batch)
    return [
        one.model_copy(update={"label": f"{one.label}, like {one.titles[0]}"})
        if counts[one.label] > 1 and one.titles[0]
        else one
        for one in batch
    ]
