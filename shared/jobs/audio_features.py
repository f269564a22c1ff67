"""The job kind `audio_features`: a folder of music in, features merged in MongoDB out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs.job import FollowUp, JobContext, JobKind, JobRequest, Planned
from shared.model import Body, Cursor, Json
from shared.paths import from_text, is_inside, require_absolute, to_text
from shared.store import audio_features, contents

EXTENSIONS = frozenset(
    (".aac", ".aif", ".aiff", ".flac", ".m4a", ".m4b", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".wave", ".wma")
)
"""What a file in a folder must end in to be looked at; a file that is named itself may end in anything."""

INLINE_MAX = 10_000
Path = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(require_absolute)]
TrackId = Annotated[str, Field(min_length=1, max_length=256)]


class Effort(StrEnum):
    """How thoroughly audio is analysed."""

    QUICK = "quick"
    STANDARD = "standard"
    FULL = "full"


class Track(Body):
    """A track under an id of the client's own, and the file that holds it."""

    track_id: TrackId
    path: Path


class Request(JobRequest):
    """Which audio to analyse, and for whom."""

    paths: tuple[Path, ...] = Field(
        default=(),
        max_length=INLINE_MAX,
        description="Files, and folders that are searched through, below the allowed roots of the workers",
    )
    tracks: tuple[Track, ...] = Field(
        default=(), max_length=INLINE_MAX, description="Files whose features should stand under ids of your own"
    )
    track_ids: tuple[TrackId, ...] = Field(
        default=(),
        max_length=INLINE_MAX,
        description="Tracks whose file is known from an earlier job",
    )
    effort: Effort = Field(
        default=Effort.FULL,
        description=(
            "quick: the central minute; standard: the whole track; full: also trained models that hear voices, speech"
            " and mood. What is known from a greater effort is not analysed again"
        ),
    )
    force: bool = Field(default=False, description="Analyse again what is known already")
    index: bool = Field(default=False, description="Bring the search index of the tracks up to date afterwards")

    @model_validator(mode="after")
    def _has_work(self) -> Self:
        if not (self.paths or self.tracks or self.track_ids):
            raise ValueError("give at least one of paths, tracks, trackIds")
        return self


class Item(Body):
    """One file, or one id whose file is known."""

    path: str | None = None
    track_id: str | None = None


class Result(Body):
    """Where the features of an item stand."""

    track_id: str
    content_hash: str
    path: str
    version: str = Field(description="The extractor's version and effort, part of the key of the shared content")


class Summary(Body):
    """What the user's whole library holds after the job, from whichever jobs that came."""

    library_tracks: int = Field(description="Tracks of this user with features")
    library_averages: dict[str, float | None] = Field(description="Mean of each feature over those tracks")


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the tracks, the ids, and then the files that the paths lead to, in a fixed order."""
    named = [Item(path=track.path, track_id=track.track_id) for track in request.tracks]
    named += [Item(track_id=track_id) for track_id in request.track_ids]
    start = int((cursor or {}).get("source", 0))
    for source in range(start, len(named)):
        yield Planned(item=named[source], cursor={"source": source + 1})
    for source in range(max(start, len(named)), len(named) + len(request.paths)):
        after = (cursor or {}).get("after") if source == start else None
        text = request.paths[source - len(named)]
        for path in _files(from_text(text), from_text(after) if after else None, context):
            yield Planned(item=Item(path=to_text(path)), cursor={"source": source, "after": to_text(path)})


class _Entry(NamedTuple):
    """A folder or an audio file that is still to come."""

    path: bytes
    is_folder: bool
    after: tuple[bytes, ...]  # what to pass over in a folder: all up to this path below it


def _files(path: bytes, after: bytes | None, context: JobContext) -> Iterator[bytes]:
    """Yield the path itself, or the audio files below it; what can't be entered is yielded, to fail by itself."""
    if after == path:
        return
    real = os.path.realpath(path)
    # With a cursor below it, it was a folder: the walk finds out what became of it.
    if is_inside(real, context.settings.music_roots) and (after is not None or os.path.isdir(real)):
        parts = after[len(path.rstrip(b"/")) + 1 :].split(b"/") if after is not None else ()
        yield from walk_audio(path, tuple(parts))
    else:
        yield path


def walk_audio(folder: bytes, after: tuple[bytes, ...] = ()) -> Iterator[bytes]:
    """Yield the audio files below a folder, by name at each level, behind the one at `after` (the parts of its path).

    Each folder is listed when its turn comes; what can't be listed is yielded itself.
    """
    # A list in place of recursion: folders may be nested deeper than Python's calls.
    pending = [_Entry(path=folder, is_folder=True, after=after)]
    while pending:
        entry = pending.pop()
        if not entry.is_folder:
            yield entry.path
            continue
        try:
            pending += reversed(_entries(entry))
        except (FileNotFoundError, NotADirectoryError):
            # What went away in the middle is at its end; what was never entered is missing.
            if not entry.after:
                yield entry.path
        except OSError:
            yield entry.path


def _entries(folder: _Entry) -> list[_Entry]:
    """Return what is to be visited in a folder, by name. Raises `OSError` where it can't be listed."""
    with os.scandir(folder.path) as scan:
        # Folders behind symlinks are not entered: a loop would never end.
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in scan)
    base, after = folder.path.rstrip(b"/") + b"/", folder.after
    entries = []
    for name, is_folder in found:
        if is_folder and len(after) > 1 and name == after[0]:
            entries.append(_Entry(base + name, is_folder, after[1:]))
        elif (is_folder or _is_audio(name)) and (not after or name > after[0]):
            entries.append(_Entry(base + name, is_folder, ()))
    return entries


def _is_audio(name: bytes) -> bool:
    return os.path.splitext(name)[1].decode("ascii", "replace").lower() in EXTENSIONS


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Copy the shared features of each content to its user and track."""
    tracks = []
    for _, result in pairs:
        content = contents.find(context.db, result.content_hash, (result.version,))
        if content is not None:
            tracks.append((result.track_id, result.path, content))
    audio_features.upsert(context.library, context.user_id, tracks)


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Average what the user has now, and store it with the user."""
    return summarise_library(counts, context)


def summarise_library(counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Average what the user has now; store it with the user if anything of the job is good."""
    found = dict(audio_features.averages(context.library, context.user_id))
    tracks = int(found.pop("tracks") or 0)
    averages = {name: _rounded(value) for name, value in found.items()}
    if any(counts[status] for status in ItemStatus if status.is_good):
        stored = {"tracks": tracks, "averages": averages}  # below the user, whose they are is said
        audio_features.save_user_summary(context.library, context.user_id, stored)
    return Summary(library_tracks=tracks, library_averages=averages)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def present(results: Sequence[Json], context: JobContext) -> list[Json]:
    """Show the merged features of each track in place of the reference that its outcome holds.

    A track may have come from several files, of the same audio or under the same id: each item shows its own.
    """
    track_ids = [result["trackId"] for result in results]
    known = audio_features.find_tracks(context.library, context.user_id, track_ids)
    return [_presented(result, known.get(result["trackId"]), context) for result in results]


def _presented(result: Json, track: Json | None, context: JobContext) -> Json:
    if track is None:
        return result
    if track.get("contentHash") != result["contentHash"]:
        own = contents.find(context.db, result["contentHash"], (result["version"],))
        if own is None:
            return result
        track = {"userId": context.user_id, "trackId": result["trackId"], **audio_features.to_fields(own)}
    return {**track, "path": result["path"]}


def follow_up(request: Request, context: JobContext) -> FollowUp | None:
    """Have the tracks' index built anew, if that was asked for."""
    return FollowUp(kind="vector_index", request={"index": "tracks"}) if request.index else None


KIND = JobKind(
    name="audio_features",
    tool="extract_audio_features",
    title="Extract audio features",
    description=(
        "Analyse audio files on the workers' disks and store tempo, key, loudness and Spotify-style features of each"
        " track. Use it for files or whole folders; a file that is known already is not analysed again."
    ),
    queue=Queue.CPU,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.audio.job:analyse_files",
    merge=merge,
    summarise=summarise,
    present=present,
    follow_up=follow_up,
    item_seconds=0.6,
    chunk_items_max=64,
    examples=(
        {"userId": "ada", "paths": ["/music/albums"]},
        {"userId": "ada", "tracks": [{"trackId": "4uLU6hMCjMI75M1A2tKUQC", "path": "/music/never.mp3"}]},
    ),
)
