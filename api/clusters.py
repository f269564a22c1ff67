"""The routes of clusters: the groups that the last job of their kind has found in an index."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from api.access.visit import Searcher
from api.services import InjectedDb
from shared.model import Body, Db, Json
from shared.store import clusters
from shared.store.clusters import CLUSTERS_MAX
from shared.store.database import library
from shared.store.indexes import IndexName

ADVICE_NONE = "Submit a job of the kind clusters with this index."

EXAMPLE: Json = {
    "index": "tracks",
    "space": "audio",
    "k": 9,
    "silhouette": 0.31,
    "clusters": [
        {
            "number": 1,
            "size": 412,
            "label": "fast, energetic, minor",
            "tags": ["metal", "rock"],
            "features": {"tempo": 152.1, "energy": 0.91, "mode": 0.21},
            "representatives": [{"id": "ada\n4uLU6hMCjMI75M1A2tKUQC", "title": "Song"}],
            "cohesion": 0.58,
        }
    ],
    "itemCluster": None,
    "snapshot": "20261121T120000000000-0123456789abcdef0123456789abcdef",
    "createdAt": "2026-11-21T12:00:00Z",
    "jobId": "job_019a",
    "advice": None,
}

router = APIRouter(prefix="/api/clusters", tags=["recommendations"])


class Representative(Body):
    """An entry that is typical of its cluster."""

    id: str
    title: str | None


class ClusterDocument(Body):
    """A group of entries that are alike."""

    number: int = Field(description="From 1, the largest first")
    size: int
    label: str = Field(description="What sets it apart, in words")
    tags: tuple[str, ...] = Field(description="What its entries have more often than all, the most telling first")
    features: dict[str, float] = Field(description="The mean of each number over the group")
    representatives: tuple[Representative, ...] = Field(description="The entries nearest to its middle")
    cohesion: float = Field(description="Mean cosine of its entries with its middle")


class ClusterList(Body):
    """An index divided into groups."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    index: IndexName
    space: str | None = Field(description="By likeness of what")
    k: int = Field(description="How many groups there are")
    silhouette: float | None = Field(description="How well so many suit, -1 to 1")
    clusters: tuple[ClusterDocument, ...]
    item_cluster: int | None = Field(description="The group of the entry that was asked about")
    snapshot: str | None = Field(description="What was divided")
    created_at: datetime | None
    job_id: str | None
    advice: str | None = Field(description="What to do where there are none")


class ClusterMembers(Body):
    """Some of the entries of a group."""

    index: IndexName
    number: int
    ids: tuple[str, ...]
    next_part: int | None = Field(description="Give it as `part` for more; null on the last")


Index = Annotated[IndexName, Query(description="What was divided")]
Number = Annotated[int, Query(ge=1, le=CLUSTERS_MAX, description="The group's number")]
Item = Annotated[str | None, Query(min_length=1, max_length=512, description="An entry, to learn in which group it is")]
Part = Annotated[int, Query(ge=0, le=100_000, description="Which part of the group, a thousand entries each")]


@router.get("", summary="Read the clusters of an index", response_model=ClusterList)
def read_clusters(who: Searcher, db: InjectedDb, index: Index = IndexName.CATALOGUE, item: Item = None) -> ClusterList:
    """The groups that the newest job of the kind `clusters` has found, the largest first."""
    return find(db, who.owner, index=index, item=item)


@router.get("/members", summary="Read the members of a cluster", response_model=ClusterMembers)
def read_cluster_members(
    who: Searcher, db: InjectedDb, index: Index = IndexName.CATALOGUE, number: Number = 1, part: Part = 0
) -> ClusterMembers:
    """The ids of a group's entries, a thousand at a time."""
    own = library(db, who.owner)
    chosen = next((one for one in clusters.newest(own, index) if one.number == number), None)
    ids = [] if chosen is None else clusters.members(own, chosen, part=part)
    has_more = chosen is not None and (part + 1) * clusters.MEMBERS_PER_DOCUMENT < chosen.size
    return ClusterMembers(index=index, number=number, ids=tuple(ids), next_part=part + 1 if has_more else None)


def find(db: Db, owner: str, *, index: IndexName, item: str | None = None) -> ClusterList:
    """Return the newest division of an index, and in which group of it an entry is."""
    own = library(db, owner)
    found = clusters.newest(own, index)
    if not found:
        return ClusterList(
            index=index,
            space=None,
            k=0,
            silhouette=None,
            clusters=(),
            item_cluster=None,
            snapshot=None,
            created_at=None,
            job_id=None,
            advice=ADVICE_NONE,
        )
    first = found[0]
    return ClusterList(
        index=index,
        space=first.space,
        k=len(found),
        silhouette=first.silhouette,
        clusters=tuple(_document(one) for one in found),
        item_cluster=None if item is None else clusters.number_of(own, index, first.job_id, item),
        snapshot=first.snapshot,
        created_at=first.created_at,
        job_id=first.job_id,
        advice=None,
    )


def _document(one: clusters.Cluster) -> ClusterDocument:
    typical = zip(one.representatives, one.titles, strict=True)
    return ClusterDocument(
        number=one.number,
        size=one.size,
        label=one.label,
        tags=one.tags,
        features=one.features,
        representatives=tuple(Representative(id=entry, title=title) for entry, title in typical),
        cohesion=one.cohesion,
    )
