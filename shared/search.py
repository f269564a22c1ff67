"""A search and its answer: what the front doors take and give, and what they say to the search server."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from shared import errors
from shared.errors import BacklineError, InvalidRequest
from shared.model import Body, Json
from shared.playlists import PlaylistRequest

QUERY_MAX = 10_000  # characters; the words that count are far fewer
LIMIT_MAX = 100
LABELS_MAX = 50  # in one condition
DIMENSIONS_MAX = 8192
ITEM_ID_MAX = 512  # characters; a track's id of 256, and what stands before it
REACH = 200  # how many hits can be read, page by page

Labels = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=LABELS_MAX)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Small = Annotated[float, Field(ge=-1e6, le=1e6)]
Identity = Annotated[str, Field(min_length=1, max_length=256)]
ItemId = Annotated[str, Field(min_length=1, max_length=ITEM_ID_MAX)]


class Mode(StrEnum):
    """How the words of a query are looked for."""

    SEMANTIC = "semantic"  # by what they mean
    LEXICAL = "lexical"  # as they are written, typos forgiven
    HYBRID = "hybrid"  # both, fused


class Feature(StrEnum):
    """A number that is known of a track."""

    TEMPO = "tempo"
    KEY = "key"
    MODE = "mode"
    ENERGY = "energy"
    VALENCE = "valence"
    DANCEABILITY = "danceability"
    ACOUSTICNESS = "acousticness"
    INSTRUMENTALNESS = "instrumentalness"
    SPEECHINESS = "speechiness"
    LOUDNESS = "loudness"
    DURATION = "duration"


class Range(Body):
    """Numbers from `min` to `max`, both included; one bound may be left out. What has no number is not found."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("min is above max")
        return self


class LabelFilter(Body):
    """Labels that must stand there or must not; case makes no difference."""

    any: Labels = Field(default=(), description="At least one of these")
    all: Labels = Field(default=(), description="Each of these")
    none: Labels = Field(default=(), description="None of these")


class CatalogueFilters(Body):
    """What every hit of the catalogue meets; conditions of different fields all hold at once."""

    types: Labels = Field(default=(), description="One of these: TV, MOVIE, OVA, ONA, SPECIAL, UNKNOWN, TRACK")
    status: Labels = Field(default=(), description="One of these: FINISHED, ONGOING, UPCOMING, UNKNOWN")
    seasons: Labels = Field(default=(), description="First shown in one of these: WINTER, SPRING, SUMMER, FALL")
    year: Range | None = Field(default=None, description="The year in which it was first shown or released")
    episodes: Range | None = Field(default=None, description="How many episodes it has")
    score: Range | None = Field(default=None, description="Its score, 0 to 10")
    tags: LabelFilter | None = Field(default=None, description="Its tags")
    studios: Labels = Field(default=(), description="Made by one of these studios")
    artists: Labels = Field(default=(), description="By one of these artists")
    catalogue: Identity | None = Field(default=None, description="Of this feed alone, such as anime")


class TrackFilters(Body):
    """What every track that is found meets; conditions of different fields all hold at once."""

    tempo: Range | None = Field(default=None, description="Beats per minute")
    energy: Range | None = Field(default=None, description="0 to 1")
    valence: Range | None = Field(default=None, description="0 (sad, angry) to 1 (cheerful)")
    danceability: Range | None = Field(default=None, description="0 to 1")
    acousticness: Range | None = Field(default=None, description="0 to 1")
    instrumentalness: Range | None = Field(default=None, description="0 (sung) to 1 (no voice)")
    speechiness: Range | None = Field(default=None, description="0 to 1 (speech alone)")
    loudness: Range | None = Field(default=None, description="Decibels, -60 to 0")
    duration: Range | None = Field(default=None, description="Seconds")
    key: tuple[Annotated[int, Field(ge=0, le=11)], ...] = Field(
        default=(), max_length=12, description="In one of these keys: 0 is C, 1 C sharp, up to 11 for B"
    )
    mode: Literal["major", "minor"] | None = Field(default=None, description="In major or in minor")
    tags: LabelFilter | None = Field(default=None, description="Its tags")
    artists: Labels = Field(default=(), description="By one of these artists")


class _Search(Body):
    query: str | None = Field(
        default=None,
        min_length=1,
        max_length=QUERY_MAX,
        description="Words, or a description in words; the first 32 different words and 256 tokens count",
    )
    vector: tuple[Small, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=DIMENSIONS_MAX,
        description="A vector to be near to: of the index's own text model, or for tracks an audio similarity vector",
    )
    mode: Mode = Field(default=Mode.HYBRID, description="How `query` is looked for: by meaning, by its words, or both")
    limit: int = Field(default=20, ge=1, le=LIMIT_MAX, description=f"Hits a page; {REACH} can be reached")
    cursor: str | None = Field(
        default=None, max_length=400, description="The `nextCursor` of the page before, with all else unchanged"
    )


class CatalogueSearch(_Search):
    """Looks in the catalogue: by words, near an item, or both."""

    index: Literal["catalogue"] = "catalogue"
    item_id: ItemId | None = Field(default=None, description="Find what is like this item, which is left out itself")
    filters: CatalogueFilters = CatalogueFilters()

    @model_validator(mode="after")
    def _looks_for_something(self) -> Self:
        if not (self.query or self.item_id or self.vector):
            raise ValueError("give at least one of query, itemId, vector")
        return self


class TrackSearch(_Search):
    """Looks among the tracks that were analysed: by words, by their sound, by wished-for features, or all at once."""

    index: Literal["tracks"] = "tracks"
    user_id: Identity | None = Field(default=None, description="Only tracks of this user of yours; else of all of them")
    track_id: Identity | None = Field(default=None, description="Find what sounds like this track, left out itself")
    targets: dict[Feature, Small] = Field(
        default={},
        description="Wished-for values: tempo in beats a minute, key 0 to 11, mode 1 for major, loudness in decibels,"
        " duration in seconds, the others 0 to 1",
    )
    filters: TrackFilters = TrackFilters()

    @model_validator(mode="after")
    def _looks_for_something(self) -> Self:
        if not (self.query or self.track_id or self.targets or self.vector):
            raise ValueError("give at least one of query, trackId, targets, vector")
        return self


def _index_of(value: Any) -> str | None:
    index = value.get("index", "catalogue") if isinstance(value, dict) else getattr(value, "index", None)
    return index if isinstance(index, str) else None


AnySearch = CatalogueSearch | TrackSearch
SearchRequest = Annotated[
    Annotated[CatalogueSearch, Tag("catalogue")] | Annotated[TrackSearch, Tag("tracks")], Discriminator(_index_of)
]
"""A search in the index that it names; the catalogue if it names none."""


class PartOfScore(Body):
    """Where one ranking has a hit."""

    rank: int = Field(description="From 1")
    score: float = Field(
        description="In that ranking's own measure: a cosine (text, audio), BM25 (words; the best hit's is added where"
        " a name is all that was asked for), 1 (name), exp(-distance) (features)"
    )


class Match(Body):
    """A word of the query that stands in a hit."""

    term: str = Field(description="As it stands there")
    asked: str = Field(description="As it was asked for, which differs where a misspelling was corrected")
    field: str = Field(description="Where it stands")


class NearFeature(Body):
    """A feature in which a hit is near to what was asked for."""

    feature: str
    value: float = Field(description="The hit's")
    wanted: float = Field(description="The one that was asked for, or that of the track it is compared with")
    deviations: float = Field(description="How far apart they are, in standard deviations of the whole index")


class Why(Body):
    """Why something was found."""

    parts: dict[str, PartOfScore] = Field(
        description="By ranking: words, name, text, audio, features; name: it is called what was asked for"
    )
    matches: tuple[Match, ...] = ()
    features: tuple[NearFeature, ...] = Field(default=(), description="The nearest features, the nearest first")


class Hit(Body):
    """Something that was found."""

    item_id: str | None = Field(default=None, description="In the catalogue")
    track_id: str | None = Field(default=None, description="Among tracks")
    user_id: str | None = Field(default=None, description="Whose track it is")
    title: str | None
    score: float = Field(description="Higher is better; only comparable within one search")
    attributes: Json = Field(description="What the index knows of it: year, tags, artists, tempo and so on")
    why: Why


class IndexInfo(Body):
    """Which state of an index answered."""

    name: str
    snapshot: str
    built_at: datetime
    entries: int
    is_current: bool = Field(description="False while an older state answers, because the newest can't be opened")


class SearchAnswer(Body):
    """Some hits, the best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "hits": [
                        {
                            "itemId": "mal-1",
                            "trackId": None,
                            "userId": None,
                            "title": "Cowboy Bebop",
                            "score": 0.0325,
                            "attributes": {"type": "TV", "year": 1998.0, "tags": ["space", "bounty hunters"]},
                            "why": {
                                "parts": {"words": {"rank": 1, "score": 21.4}, "text": {"rank": 2, "score": 0.61}},
                                "matches": [{"term": "bebop", "asked": "bebob", "field": "title"}],
                                "features": [],
                            },
                        }
                    ],
                    "nextCursor": None,
                    "index": {
                        "name": "catalogue",
                        "snapshot": "20261121T120000000000-0123456789abcdef0123456789abcdef",
                        "builtAt": "2026-11-21T12:00:00Z",
                        "entries": 39012,
                        "isCurrent": True,
                    },
                    "tookMs": 9.1,
                    "embeddingMs": 4.2,
                }
            ]
        }
    )

    hits: tuple[Hit, ...]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")
    index: IndexInfo
    took_ms: float = Field(description="What the search server took")
    embedding_ms: float = Field(description="How much of it went into the meaning of the query")


# Between the API and the search server


class OwnedSearch(Body):
    """A search, and whose index it is for: the API says so, never the client."""

    owner: str
    search: SearchRequest


class OwnedPlaylist(Body):
    """A playlist that is asked for, and out of whose tracks."""

    owner: str
    playlist: PlaylistRequest


class OpenedIndex(Body):
    """An index that a search server has open."""

    id: str = Field(description="owner.name")
    snapshot: str
    entries: int
    bytes: int
    opened_at: datetime
    is_current: bool = Field(description="Whether it is the one that the pointer names")
    trouble: str | None = Field(description="Why the one that the pointer names is not open")


class SearchState(Body):
    """How a search server stands."""

    is_ready: bool
    waits_for: str | None = Field(description="What it does not have yet")
    embedder: str | None
    resident_mb: float
    is_up_to_date: bool = Field(description="Whether the pointers could be read of late")
    at_work: int = Field(description="Searches that are worked on or wait for their turn")
    indexes: tuple[OpenedIndex, ...]
    resting: int = Field(default=0, description="Indexes that are opened when they are searched again")
    troubles: dict[str, str] = Field(description="Of each index that can't be opened at all, why")


class Refusal(Body):
    """An error on its way from the search server to whoever asked."""

    code: str
    message: str
    fields: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, error: BacklineError) -> Self:
        """Return what an error says of itself."""
        fields = error.fields if isinstance(error, InvalidRequest) else ()
        return cls(code=error.code, message=error.message, fields=fields)

    def error(self) -> BacklineError:
        """Return the error again; one that this side does not know means that the other is of another version."""
        if self.code == InvalidRequest.code:
            return InvalidRequest(self.message, fields=self.fields)
        known = {one.code: one for one in _REFUSALS}.get(self.code, errors.SearchUnavailable)
        return known(self.message)


_REFUSALS: tuple[type[BacklineError], ...] = (
    errors.EmbedderMismatch,
    errors.EntryNotFound,
    errors.IndexDamaged,
    errors.IndexMissing,
    errors.InvalidCursor,
    errors.SearchOverloaded,
    errors.SearchTimedOut,
    errors.SearchUnavailable,
    errors.SearchWarming,
)


def jsonable(model: BaseModel) -> bytes:
    """Return a model as the JSON that goes over the wire."""
    return model.model_dump_json(by_alias=True).encode()
