"""The job kind `playlist_analysis`: a playlist or some tracks in, what it sounds like in numbers, words, pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.broker import Queue
from shared.dotted import resolve
from shared.items import ItemStatus
from shared.jobs import audio_features as files
from shared.jobs import track_features as tracks
from shared.jobs.data_export import ExportedFile, described
from shared.jobs.job import JobContext, JobKind, Planned
from shared.model import Body, Cursor, Json
from shared.store import analyses, artifacts, playlist_reads

LINK = re.compile(
    r"(?:^spotify:(?:user:[^:]+:)?playlist:|^https?://open\.spotify\.com/(?:[^?#]*/)?playlist/|^)"
    r"([0-9A-Za-z]{22})(?:[?#/].*)?$"
)
READ = "workers.providers.playlist_reading:track_ids"
STEP_SECONDS_MAX = 600.0


class Request(tracks.FeaturesRequest):
    """Which playlist or tracks, and what is to be said of them."""

    playlist: str | None = Field(
        default=None, min_length=1, max_length=512, description="The id, URI or address of a playlist at Spotify"
    )
    track_ids: tuple[files.TrackId, ...] = Field(
        default=(), max_length=tracks.IDS_MAX, description="Tracks, in place of a playlist"
    )
    visualizations: bool = Field(default=False, description="Draw a radar and distributions, as SVG and PNG files")
    recommendations: bool = Field(default=True, description="Say what could be made of it")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.playlist is None) == (not self.track_ids):
            raise ValueError("give either a playlist or trackIds")
        return self

    @field_validator("playlist")
    @classmethod
    def _names_a_playlist(cls, text: str | None) -> str | None:
        if text is not None and playlist_id_of(text) is None:
            raise ValueError("is no playlist's id, URI or address at Spotify")
        return text


def playlist_id_of(text: str) -> str | None:
    """Return the id in an id, a URI or an address of a playlist; None where it is none of these."""
    found = LINK.match(text.strip())
    return found[1] if found else None


class Item(Body):
    """One track, or the step that looks at all of them together."""

    track_id: str | None = None
    step: Literal["analyse"] | None = None


class Result(Body):
    """How much is known of a track, and why it is not more; of the last step nothing more is said."""

    track_id: str | None = None
    known: int = 0
    reasons: dict[str, str] = Field(default_factory=dict)
    local: tracks.Local | None = None


class Summary(Body):
    """What the playlist sounds like, under the names of EchoTune's script, and the pictures of it."""

    playlist_id: str | None = None
    name: str | None = None
    skipped: int = Field(default=0, description="Places that hold no track: episodes, files of the user's own")
    stale: bool = Field(default=False, description="It was read from an older copy, for Spotify gave no fresh one")
    degraded: bool = Field(
        default=False, description="Whoever could name the playlist, or who made its tracks, could not be asked"
    )
    analysis: Json | None = Field(
        description=(
            "basic_stats, audio_analysis (mean, median, std, min, max, range of each feature), coverage,"
            " key_distribution, mode_distribution, time_signature_distribution, insights, recommendations"
        )
    )
    files: tuple[ExportedFile, ...] = Field(default=(), description="The pictures")


def analysis_id(job_id: str) -> str:
    """Return the id under which a job's analysis is kept."""
    return f"playlist_{job_id}"


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield each track once, and then the step that looks at all of them.

    Raises:
        PlanFailed: the playlist can't be read.
        NotYet: nobody may be asked for it now.
    """
    known = cursor or {}
    if known.get("analysed"):
        return
    ids: Sequence[str] = request.track_ids or resolve(READ)(request, context)
    ids = list(dict.fromkeys(ids))
    for place in range(int(known.get("place", 0)), len(ids)):
        yield Planned(item=Item(track_id=ids[place]), cursor={"place": place + 1})
    if ids:
        yield Planned(item=Item(step="analyse"), cursor={"analysed": True})


def last_step(item: Item) -> Queue | None:
    """Have the whole looked at when each track has its outcome."""
    return Queue.IO if item.step else None


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Merge what is known of each track, as for any track that features are asked for."""
    found = [as_features(result) for _, result in pairs if result.track_id is not None]
    tracks.store(request, found, context)


def as_features(result: Result) -> tracks.Result:
    """Return the result of a track as the kind `track_features` has it."""
    assert result.track_id is not None
    return tracks.Result(track_id=result.track_id, known=result.known, reasons=result.reasons, local=result.local)


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Give the analysis that was kept, and name the pictures; what the user has now is averaged, too."""
    files.summarise_library(counts, context)
    read = playlist_reads.find(context.library, context.job_id) if request.playlist else None
    kept = analyses.find(context.library, analysis_id(context.job_id))
    found = dict(kept.body) if kept else {}
    lacks_names = bool(found.pop("degraded", False))
    return Summary(
        playlist_id=read.playlist_id if read else None,
        name=read.name if read else None,
        skipped=read.skipped if read else 0,
        stale=bool(read and read.stale),
        degraded=lacks_names or bool(read and read.degraded),
        analysis=found or None,
        files=tuple(map(described, artifacts.find_of_job(context.library, context.job_id))),
    )


def present(results: Sequence[Json], context: JobContext) -> list[Json]:
    """Show the merged features of each track in place of the reference that its outcome holds."""
    shown: list[Any] = tracks.present([one for one in results if one.get("trackId")], context)
    by_place = iter(shown)
    return [next(by_place) if one.get("trackId") else one for one in results]


KIND = JobKind(
    name="playlist_analysis",
    tool="analyze_playlist",
    title="Analyse a playlist",
    description=(
        "Analyse a playlist at Spotify, or a list of tracks: the features of its tracks, from whoever knows them, their"
        " mean, median, spread and range, keys and modes, insights in words, what could be made of it, and pictures."
    ),
    queue=Queue.IO,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.providers.playlist_job:analyse",
    merge=merge,
    summarise=summarise,
    present=present,
    last_step=last_step,
    steps_again=True,
    item_seconds=0.02,
    item_seconds_max=STEP_SECONDS_MAX,
    chunk_items_max=tracks.CHUNK,
    chunk_items_min=tracks.CHUNK,
    asks_providers=True,
    examples=(
        {"userId": "ada", "playlist": "37i9dQZF1DXcBWIGoYBM5M", "visualizations": True},
        {"userId": "ada", "trackIds": ["4uLU6hMCjMI75M1A2tKUQC"]},
    ),
)
