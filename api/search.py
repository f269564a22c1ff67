"""The routes of search: what is found, what is like something, and the indexes behind it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.openapi.models import Example
from pydantic import ConfigDict, Field

from api.access.visit import Searcher, Writer
from api.problems import Problem
from api.services import InjectedDb, InjectedServices, Services
from shared.access import Principal
from shared.departures import unless_gone
from shared.errors import EntryNotFound, InvalidCursor, UnknownIndex
from shared.model import Body as Document
from shared.model import Db, Json
from shared.playlists import Playlist, PlaylistRequest
from shared.search import (
    ITEM_ID_MAX,
    LIMIT_MAX,
    AnySearch,
    CatalogueSearch,
    OwnedPlaylist,
    OwnedSearch,
    SearchAnswer,
    SearchRequest,
    TrackSearch,
)
from shared.store import catalogue, indexes
from shared.store.database import library
from shared.store.indexes import IndexName, IndexPointer

EXAMPLES: dict[str, Example] = {
    "words": {"value": {"query": "bounty hunters in space", "filters": {"types": ["TV"], "year": {"min": 1990}}}},
    "like an item": {"value": {"itemId": "mal-1", "filters": {"tags": {"none": ["comedy"]}}}},
    "tracks": {"value": {"index": "tracks", "query": "night drive", "targets": {"tempo": 110, "energy": 0.6}}},
}
PLAYLISTS: dict[str, Example] = {
    "seeds": {"value": {"seeds": ["track-1", "track-2"], "length": 20}},
    "a path": {"value": {"from": "track-1", "to": "track-9", "length": 12, "energyCurve": "arc"}},
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "The index has no such entry"},
    409: {"model": Problem, "description": "There is no such index yet, or it is of another model"},
}
INDEX_EXAMPLE: Json = {
    "name": "catalogue",
    "snapshot": "20261121T120000000000-0123456789abcdef0123456789abcdef",
    "previous": None,
    "entries": 39012,
    "bytes": 104857600,
    "embedder": "all-minilm-l6-v2-int8/0123456789ab/256",
    "recall": 1.0,
    "jobId": "job_019a",
    "builtAt": "2026-11-21T12:00:00Z",
    "watermark": "2026-11-21T11:59:00Z",
    "isStale": False,
}

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Hits a page")]
Cursor = Annotated[str | None, Query(max_length=400, description="The `nextCursor` of the page before")]
ItemId = Annotated[str, Path(min_length=1, max_length=ITEM_ID_MAX, description="The item's id", examples=["mal-1"])]
Name = Annotated[str, Path(max_length=64, description="catalogue or tracks", examples=["catalogue"])]
TrackId = Annotated[str, Path(min_length=1, max_length=256, description="The track's id", examples=["track-1"])]

router = APIRouter(tags=["search"])


class Index(Document):
    """An index of yours, and which state of it is current."""

    model_config = ConfigDict(json_schema_extra={"examples": [INDEX_EXAMPLE]})

    name: str
    snapshot: str
    previous: str | None = Field(description="What a rollback makes current again")
    entries: int
    bytes: int
    embedder: str | None = Field(description="The text model that it was built with")
    recall: float = Field(description="Share of the true nearest that it finds; 1 where search is exact")
    job_id: str | None = Field(description="The job that built it")
    built_at: datetime
    watermark: datetime = Field(description="Every change up to here is in it")
    is_stale: bool = Field(description="Whether something came or changed since: a job vector_index takes it up")


class IndexList(Document):
    """Your indexes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"indexes": [INDEX_EXAMPLE]}]})

    indexes: tuple[Index, ...]


@router.post(
    "/api/search",
    name="search",
    summary="Search the catalogue or the tracks",
    response_model=SearchAnswer,
    responses=NOT_FOUND,
)
async def search(
    who: Searcher,
    request: Request,
    services: InjectedServices,
    body: Annotated[SearchRequest, Body(openapi_examples=EXAMPLES)],
) -> Response:
    """By words or a description, near an item or a track, near wished-for features, or by several of these at once.

    Each hit says why it was found. `index` chooses between the catalogue, which is the default, and the tracks that
    were analysed.
    """
    return await _answered(request, services, who, body)


@router.get(
    "/api/items/{item_id:path}/similar",
    name="similar_items",
    summary="What is like an item of the catalogue",
    response_model=SearchAnswer,
    responses=NOT_FOUND,
)
async def similar_items(
    who: Searcher,
    request: Request,
    services: InjectedServices,
    item_id: ItemId,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """The nearest by what is said about them, without the item itself."""
    wanted = CatalogueSearch(item_id=item_id, limit=limit, cursor=cursor)
    return await _answered(request, services, who, wanted)


@router.get(
    "/api/tracks/{track_id:path}/similar",
    name="similar_tracks",
    summary="What sounds like a track",
    response_model=SearchAnswer,
    responses=NOT_FOUND,
)
async def similar_tracks(
    who: Searcher,
    request: Request,
    services: InjectedServices,
    track_id: TrackId,
    user_id: Annotated[
        str | None,
        Query(alias="userId", min_length=1, max_length=256, description="Whose track, and among whose tracks to look"),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """The nearest by their sound, without the track itself; the features in which each is nearest are named."""
    wanted = TrackSearch(track_id=track_id, user_id=user_id, limit=limit, cursor=cursor)
    return await _answered(request, services, who, wanted)


async def _answered(request: Request, services: Services, who: Principal, wanted: AnySearch) -> Response:
    # As it came: the search server has made it of the same models.
    content = await unless_gone(request.receive, asked(services, who, wanted))
    return Response(content, media_type="application/json")


async def asked(services: Services, who: Principal, wanted: AnySearch) -> bytes:
    """Return the search server's answer to a search in the index of whoever asks, as JSON.

    An item is also known by an id that has become another's: the one that two entries became, or another site's id.
    """
    ask = services.search.ask
    try:
        return await ask("/search", OwnedSearch(owner=who.owner, search=wanted), holder=who.actor)
    except (EntryNotFound, InvalidCursor):
        meant = await _meant(services, who.owner, wanted)
        if meant is None:
            raise
        return await ask("/search", OwnedSearch(owner=who.owner, search=meant), holder=who.actor)


async def _meant(services: Services, owner: str, wanted: AnySearch) -> AnySearch | None:
    """Return the search with the id that its item has now; None where that is no other one."""
    if not isinstance(wanted, CatalogueSearch) or wanted.item_id is None:
        return None
    own = library(services.connection.db, owner)
    living = await to_thread.run_sync(catalogue.find_living, own, (wanted.item_id,))
    item_id = living.get(wanted.item_id, wanted.item_id)
    return None if item_id == wanted.item_id else wanted.model_copy(update={"item_id": item_id})


@router.post(
    "/api/playlists/build",
    name="build_playlist",
    summary="Build a playlist",
    response_model=Playlist,
    responses=NOT_FOUND,
)
async def build_playlist(
    who: Searcher,
    request: Request,
    services: InjectedServices,
    body: Annotated[PlaylistRequest, Body(openapi_examples=PLAYLISTS)],
) -> Response:
    """Out of the analysed tracks: like some seeds, or from one track to another, with an energy that goes as is wished.

    The notes say what could not be as it was asked for.
    """
    content = await unless_gone(request.receive, playlist_asked(services, who, body))
    return Response(content, media_type="application/json")


async def playlist_asked(services: Services, who: Principal, wanted: PlaylistRequest) -> bytes:
    """Return the search server's playlist from the index of whoever asks, as JSON."""
    return await services.search.ask("/playlists", OwnedPlaylist(owner=who.owner, playlist=wanted), holder=who.actor)


@router.get("/api/indexes", summary="List the indexes", response_model=IndexList)
def list_indexes(who: Searcher, db: InjectedDb) -> IndexList:
    """Your indexes: what is in them, since when, and what they were built with."""
    return IndexList(indexes=tuple(index_document(db, pointer) for pointer in indexes.find_all(db, who.owner)))


@router.post(
    "/api/indexes/{name}/rollback",
    name="roll_back_index",
    summary="Go back to the state before",
    response_model=Index,
    responses={
        404: {"model": Problem, "description": "No index has this name"},
        409: {"model": Problem, "description": "It was not built yet, or has no state before"},
    },
)
def roll_back_index(who: Writer, db: InjectedDb, name: Name) -> Index:
    """Make the snapshot before the current one current again, within a second; a second time, this one again."""
    return index_document(db, rolled_back(db, who.owner, name))


def rolled_back(db: Db, owner: str, name: str) -> IndexPointer:
    """Swing an owner's index back. Raises `UnknownIndex`, `IndexMissing`, `NothingToRollBack`."""
    if name not in tuple(IndexName):
        raise UnknownIndex(f"There is no index {name!r}.")
    return indexes.roll_back(db, owner, name)


def index_document(db: Db, pointer: IndexPointer) -> Index:
    """Return an index as clients see it."""
    return Index(
        name=pointer.name,
        snapshot=pointer.snapshot,
        previous=pointer.previous,
        entries=pointer.entries,
        bytes=pointer.bytes,
        embedder=pointer.embedder,
        recall=pointer.recall,
        job_id=pointer.job_id,
        built_at=pointer.built_at,
        watermark=pointer.watermark,
        is_stale=indexes.outdated_since(library(db, pointer.owner), pointer) is not None,
    )
