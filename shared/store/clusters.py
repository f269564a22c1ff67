"""The collections `clusters` and `cluster_members`: an index divided into groups, a batch of documents per job.

`cluster_trials` keeps what a job found of each number of groups that it tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne

from shared.clock import now
from shared.model import Db, Json, Record
from shared.store.indexes import IndexName

COLLECTION = "clusters"
MEMBERS = "cluster_members"
TRIALS = "cluster_trials"
MEMBERS_PER_DOCUMENT = 1_000
TRIALS_KEPT = timedelta(days=30)
CLUSTERS_MAX = 200  # of one division


class Cluster(Record):
    """A group of entries that are alike."""

    id: str = Field(alias="_id")  # index:job:number
    index: IndexName
    space: str
    snapshot: str  # that was divided
    job_id: str
    number: int  # from 1, the largest first
    of: int  # how many there are: k
    size: int
    label: str  # in words
    tags: tuple[str, ...] = ()  # what its entries have more often than all, the most telling first
    features: dict[str, float] = Field(default_factory=dict)  # mean of each, where entries have numbers
    representatives: tuple[str, ...]  # ids of the entries nearest to its middle
    titles: tuple[str | None, ...]  # of those
    cohesion: float  # mean cosine of its entries with its middle
    silhouette: float  # of the whole division, on a sample, -1 to 1
    created_at: datetime


def ensure_indexes(db: Db) -> None:
    """Create the indexes of these collections."""
    db[COLLECTION].create_indexes([IndexModel([("index", ASCENDING), ("createdAt", DESCENDING)])])
    db[MEMBERS].create_indexes(
        [
            IndexModel([("index", ASCENDING), ("createdAt", DESCENDING)]),
            IndexModel([("index", ASCENDING), ("ids", ASCENDING)]),
        ]
    )
    db[TRIALS].create_indexes(
        [
            IndexModel([("jobId", ASCENDING)]),
            IndexModel("createdAt", expireAfterSeconds=int(TRIALS_KEPT.total_seconds())),
        ]
    )


def save_trials(db: Db, job_id: str, silhouettes: Mapping[int, float]) -> None:
    """Keep how well a job could divide an index into each of some numbers of groups."""
    moment = now()
    db[TRIALS].bulk_write(
        [
            ReplaceOne(
                {"_id": f"{job_id}:{k}"},
                {"_id": f"{job_id}:{k}", "jobId": job_id, "k": k, "silhouette": silhouette, "createdAt": moment},
                upsert=True,
            )
            for k, silhouette in silhouettes.items()
        ]
    )


def trials(db: Db, job_id: str) -> dict[int, float]:
    """Return the silhouette of each number of groups that a job has tried."""
    return {int(one["k"]): float(one["silhouette"]) for one in db[TRIALS].find({"jobId": job_id})}


def cluster_id(index: IndexName, job_id: str, number: int) -> str:
    """Return the key of a cluster."""
    return f"{index}:{job_id}:{number}"


def save(db: Db, batch: Sequence[Cluster], members: Sequence[Sequence[str]]) -> None:
    """Store a division: the clusters last, so that whoever sees them finds their members, too."""
    parts = [part for one, ids in zip(batch, members, strict=True) for part in _parts(one, ids)]
    if parts:
        db[MEMBERS].bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in parts], ordered=False)
    documents = [one.to_document() for one in batch]
    if documents:
        db[COLLECTION].bulk_write([ReplaceOne({"_id": one["_id"]}, one, upsert=True) for one in documents])


def _parts(cluster: Cluster, ids: Sequence[str]) -> Iterator[Json]:
    for part, start in enumerate(range(0, len(ids), MEMBERS_PER_DOCUMENT)):
        yield {
            "_id": f"{cluster.id}:{part:06d}",
            "index": cluster.index,
            "jobId": cluster.job_id,
            "number": cluster.number,
            "createdAt": cluster.created_at,
            "ids": list(ids[start : start + MEMBERS_PER_DOCUMENT]),
        }


def delete_older(db: Db, index: IndexName, moment: datetime) -> None:
    """Delete the divisions of an index that are older than that of a moment."""
    for collection in (COLLECTION, MEMBERS):
        db[collection].delete_many({"index": index, "createdAt": {"$lt": moment}})


def newest(db: Db, index: IndexName) -> list[Cluster]:
    """Return the clusters of the newest division of an index, the largest first."""
    found = db[COLLECTION].find({"index": index}).sort("createdAt", DESCENDING).limit(2 * CLUSTERS_MAX)
    batch = [Cluster.from_document(document) for document in found]
    return sorted((one for one in batch if one.job_id == batch[0].job_id), key=lambda one: one.number)


def members(db: Db, cluster: Cluster, *, part: int) -> list[str]:
    """Return the ids of a cluster's entries, `MEMBERS_PER_DOCUMENT` at a time; an empty part is behind the last."""
    document = db[MEMBERS].find_one({"_id": f"{cluster.id}:{part:06d}"})
    return [] if document is None else list(document["ids"])


def number_of(db: Db, index: IndexName, job_id: str, entry_id: str) -> int | None:
    """Return in which cluster of a division an entry is; None where it is in none."""
    for document in db[MEMBERS].find({"index": index, "ids": entry_id}, {"ids": 0}):
        if document["jobId"] == job_id:
            return int(document["number"])
    return None
