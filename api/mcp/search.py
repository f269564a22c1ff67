"""The tools of search: what the catalogue holds, which tracks fit, what is like something."""

from __future__ import annotations

from functools import partial
from typing import Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from api.access import visit
from api.mcp.answers import BYTES_MAX, bytes_of, playlist_answer, search_answer
from api.mcp.tool import READS, JobTool, Provide, checked, lean, made, tool
from api.search import asked, playlist_asked
from api.searching import understood
from shared.access import Scope
from shared.errors import InvalidRequest
from shared.model import Body, Json
from shared.playlists import Playlist, PlaylistRequest
from shared.search import LIMIT_MAX, AnySearch, CatalogueSearch, Identity, ItemId, SearchAnswer, TrackSearch

HITS = 10
LEFT_OUT = ("index", "vector")
"""Of a search's fields: the tool's name says the index, and no model writes vectors."""


class Similar(Body):
    """What others should be like."""

    item_id: ItemId | None = Field(default=None, description="An item of the catalogue")
    track_id: Identity | None = Field(default=None, description="Or a track")
    user_id: Identity | None = Field(default=None, description="Whose track it is, and among whose tracks to look")
    limit: int = Field(default=HITS, ge=1, le=LIMIT_MAX, description="How many at most; fewer where they are long")
    cursor: str | None = Field(default=None, max_length=400, description="The nextCursor of the page before")

    def search(self) -> AnySearch:
        """Return the search that finds them. Raises `InvalidRequest`."""
        if (self.item_id is None) == (self.track_id is None):
            reason = "give either itemId or trackId"
            raise InvalidRequest(f"The request is not valid: {reason}.", fields=[("itemId", reason)])
        if self.item_id is not None:
            return CatalogueSearch(item_id=self.item_id, limit=self.limit, cursor=self.cursor)
        return TrackSearch(track_id=self.track_id, user_id=self.user_id, limit=self.limit, cursor=self.cursor)


def search_tools(provide: Provide) -> list[JobTool]:
    """Return the tools of search."""

    async def search(wanted: AnySearch, _: Context[Any, Any]) -> CallToolResult:
        return search_answer(await _fitting(provide, wanted))

    async def find_similar(wanted: Similar, _: Context[Any, Any]) -> CallToolResult:
        return search_answer(await _fitting(provide, wanted.search()))

    async def build_playlist(wanted: PlaylistRequest, _: Context[Any, Any]) -> CallToolResult:
        who = visit.principal(Scope.SEARCH)
        return playlist_answer(understood(Playlist, await playlist_asked(provide(), who, wanted)))

    define = partial(_search_tool, search, provide=provide)
    return [
        define(
            CatalogueSearch,
            name="search_catalogue",
            title="Search the catalogue",
            description="Find shows, films and releases of the catalogue by title, by a description in words"
            " (typos are forgiven), or by what they are like. Each hit says why it was found.",
        ),
        define(
            TrackSearch,
            name="search_tracks",
            title="Search the tracks",
            description="Find analysed tracks by words, by wished-for features (targets such as tempo 120,"
            " energy 0.8), by ranges (filters), or by what they sound like. Each hit says why it was found.",
        ),
        tool(
            find_similar,
            name="find_similar",
            title="Find what is similar",
            description="What is like an item of the catalogue, or sounds like a track: give itemId or trackId.",
            annotations=READS,
            arguments=Similar,
            output=SearchAnswer,
            provide=provide,
            scope=Scope.SEARCH,
        ),
        tool(
            build_playlist,
            name="build_playlist",
            title="Build a playlist",
            description="Put analysed tracks in an order that flows: like some seeds, or from one track to another,"
            " with an energy that rises, falls or goes as is wished. Find the tracks' ids with search_tracks.",
            annotations=READS,
            arguments=PlaylistRequest,
            output=Playlist,
            provide=provide,
            scope=Scope.SEARCH,
        ),
    ]


def _search_tool(
    call: Any, model: type[CatalogueSearch | TrackSearch], *, name: str, title: str, description: str, provide: Provide
) -> JobTool:
    schema = lean(model.model_json_schema())
    schema["properties"] = {field: one for field, one in schema["properties"].items() if field not in LEFT_OUT}
    schema["properties"]["limit"] = {**schema["properties"]["limit"], "default": HITS}

    def check(values: Json) -> Body:
        return checked(model, {"limit": HITS, **{key: value for key, value in values.items() if value is not None}})

    return made(
        call,
        name=name,
        title=title,
        description=description,
        annotations=READS,
        check=check,
        schema=schema,
        output=SearchAnswer,
        provide=provide,
        scope=Scope.SEARCH,
    )


async def _fitting(provide: Provide, wanted: AnySearch) -> SearchAnswer:
    """Return the page that is asked for, or a shorter one that is not too long; it has at least one hit, if any."""
    who = visit.principal(Scope.SEARCH)
    page = understood(SearchAnswer, await asked(provide(), who, wanted))
    total = 0
    for place, hit in enumerate(page.hits):
        total += bytes_of(hit)
        if total > BYTES_MAX and place > 0:
            shorter = wanted.model_copy(update={"limit": place})
            return understood(SearchAnswer, await asked(provide(), who, shorter))
    return page
