"""The job kind `vector_index`: what is stored in, an index that is searched out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pydantic import Field

from shared.broker import Queue
from shared.clock import now
from shared.items import ItemStatus
from shared.jobs.job import FollowUp, JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor
from shared.store import audio_features, catalogue, indexes
from shared.store.indexes import IndexName, IndexPointer

OVERLAP = timedelta(minutes=10)
"""So far back an update looks behind the last one's time: the clocks of machines differ, and writes take time."""

SIX_HOURS = 6 * 3600.0


class Request(JobRequest):
    """Which index, and whether to make it anew."""

    index: IndexName = Field(
        default=IndexName.CATALOGUE,
        description="catalogue: the entries that were imported; tracks: the tracks that have audio features",
    )
    rebuild: bool = Field(
        default=False,
        description="Build from all that is stored, in place of what has changed since the last time",
    )


class Item(Body):
    """An entry whose text is to be embedded; without an id, the building of the index."""

    id: str | None = None


class Result(Body):
    """What came of an item: nothing more of an entry, whose vector is stored; of the building, the snapshot."""

    snapshot: str | None = None
    put: int | None = Field(default=None, description="Entries that are new in the index, or others than before")
    removed: int | None = None
    left_out: int | None = Field(
        default=None,
        description="Documents that no index can hold, by their ids or numbers: the worker's log names them",
    )


class Summary(Body):
    """The index as it is after the job."""

    index: IndexName
    snapshot: str | None = Field(default=None, description="What is searched now; null where there is no index yet")
    entries: int = 0
    bytes: int = 0
    embedder: str | None = Field(default=None, description="The model that embeds texts, and its version")
    recall: float | None = Field(default=None, description="Share of the true nearest that a search finds")
    embedded: int = Field(description="Texts that this job made vectors of")
    built_at: datetime | None = None


def changes_since(pointer: IndexPointer | None, request: Request) -> datetime | None:
    """Return from when on changes may be missing from an index; None where all is to be looked at.

    A time that is yet to come was told by a clock that went wrong, and says nothing.
    """
    if pointer is None or request.rebuild or pointer.watermark > now() + OVERLAP:
        return None
    return pointer.watermark - OVERLAP


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield what has changed, or all there is, by id; then the building."""
    known = cursor or {}
    if known.get("built"):
        return
    # The first turn decides how far back to look: the pointer may be swung while the job runs.
    since = _since(known, request, context)
    start = {"since": since and since.isoformat()}
    for one in _ids(request.index, context, since, known.get("after")):
        yield Planned(item=Item(id=one), cursor={**start, "after": one})
    yield Planned(item=Item(), cursor={**start, "built": True})


def _since(known: Cursor, request: Request, context: JobContext) -> datetime | None:
    if "since" in known:
        return datetime.fromisoformat(known["since"]) if known["since"] else None
    return changes_since(indexes.find(context.db, context.owner, request.index), request)


def _ids(index: IndexName, context: JobContext, since: datetime | None, after: str | None) -> Iterator[str]:
    if index is IndexName.CATALOGUE:
        yield from catalogue.iterate_ids(context.library, since=since, after=after)
        return
    behind = None if after is None else split_track_key(after)
    for user_id, track_id in audio_features.iterate_keys(context.library, since=since, after=behind):
        yield join_track_key(user_id, track_id)


def join_track_key(user_id: str, track_id: str) -> str:
    """Return the id of a user's track in the index: two users may have the same track."""
    return f"{user_id}\n{track_id}"


def split_track_key(key: str) -> tuple[str, str]:
    """Return the user and the track that an id in the index stands for."""
    user_id, _, track_id = key.partition("\n")
    return user_id, track_id


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Do nothing: vectors are stored as they are made, and an index is published whole."""


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Say what is searched now."""
    pointer = indexes.find(context.db, context.owner, request.index)
    embedded = max(0, counts[ItemStatus.SUCCEEDED] - 1)  # the building is no text
    if pointer is None:
        return Summary(index=request.index, embedded=embedded)
    return Summary(
        index=request.index,
        snapshot=pointer.snapshot,
        entries=pointer.entries,
        bytes=pointer.bytes,
        embedder=pointer.embedder,
        recall=pointer.recall,
        embedded=embedded,
        built_at=pointer.built_at,
    )


def follow_up(request: Request, context: JobContext) -> FollowUp | None:
    """Have the index of the tracks, where there is one, take up what an import says anew about them."""
    tracks = indexes.find(context.db, context.owner, IndexName.TRACKS)
    if request.index is not IndexName.CATALOGUE or tracks is None:
        return None
    if not catalogue.has_changed_tracks(context.library, tracks.watermark):
        return None
    return FollowUp(kind="vector_index", request={"index": "tracks"})


KIND = JobKind(
    name="vector_index",
    tool="build_search_index",
    title="Build a search index",
    description=(
        "Embed the texts of what is stored and publish the index that is searched: of the catalogue after an import, of"
        " the tracks after an analysis. Only what has changed is embedded and written; searches go on meanwhile."
    ),
    queue=Queue.CPU,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.indexing.job:index_entries",
    merge=merge,
    summarise=summarise,
    item_seconds=0.02,
    chunk_items_max=512,
    item_seconds_max=SIX_HOURS,
    last_step=lambda item: Queue.INDEX if item.id is None else None,
    follow_up=follow_up,
    examples=({"index": "catalogue"}, {"index": "tracks", "rebuild": True}),
)
