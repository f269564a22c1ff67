"""The work of the job kind `playlist_analysis`: features of its tracks, and then what they sound like together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from shared.clock import now
from shared.dotted import resolve
from shared.items import ItemOutcome, ItemStatus, succeeded
from shared.jobs.job import JobContext
from shared.jobs.playlist_analysis import Item, Request, Result, analysis_id
from shared.jobs.track_features import Item as Track
from shared.jobs.track_features import Result as Found
from shared.ladder import known_values
from shared.model import Json
from shared.store import analyses, artifacts, audio_features, playlist_reads
from shared.store.artifacts import Artifact, Segment, artifact_id
from workers.providers.job import find_features
from workers.providers.playlist_numbers import FEATURES, Named, radar_values
from workers.providers.playlist_numbers import analyse as numbers_of
from workers.providers.services import services

PICTURES = "workers.providers.pictures:"
"""Looked for only where pictures are wanted: what draws them takes a worker half a second and 40 MB."""
TRACKS_AT_A_TIME = 1_000
NAMED_MAX = 500
"""Of so many tracks without a playlist it is asked who made them; budgets are for features first."""


def analyse(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each track's outcome, or look at all tracks of the job together.

    Raises `NotYet` where a provider's budget is spent.
    """
    if items[0].step is None:
        tracks = [Track(track_id=item.track_id or "") for item in items]
        for outcome in find_features(request, tracks, context):
            yield _as_ours(outcome)
        return
    for _ in items:
        _look_at_all(request, context)
        yield succeeded(Result())


def _as_ours(outcome: ItemOutcome) -> ItemOutcome:
    if not isinstance(outcome.result, Found):
        return outcome
    result = Result.model_validate(outcome.result.model_dump())
    return succeeded(result, cached=outcome.status is ItemStatus.CACHED)


def _look_at_all(request: Request, context: JobContext) -> None:
    ids, names, title, is_whole = _tracks(request, context)
    sounds = _sounds(ids, context)
    found = numbers_of(ids, sounds, names, advise=request.recommendations)
    if request.visualizations:
        _draw(found, sounds, ids, title, context)
    key = analysis_id(context.job_id)
    body = {**found, "degraded": not is_whole}
    analyses.save(context.library, key, context.job_id, body, kept=context.settings.job_ttl)


def _tracks(request: Request, context: JobContext) -> tuple[Sequence[str], Mapping[str, Named], str, bool]:
    """Return the track at each place, what is known of them, what the whole is called, and whether all was told."""
    read = playlist_reads.find(context.library, context.job_id) if request.playlist else None
    if read is None:
        names, is_whole = _names(request.track_ids, context)
        return request.track_ids, names, f"{len(request.track_ids)} tracks", is_whole
    names = {
        one.id: Named(artists=one.artists, duration_ms=one.duration_ms, popularity=one.popularity)
        for one in read.tracks
    }
    return [one.id for one in read.tracks], names, read.name or read.playlist_id, True


def _names(ids: Sequence[str], context: JobContext) -> tuple[dict[str, Named], bool]:
    """Return who made tracks, and whether everybody who may know it has been heard."""
    names = services(context.settings, context.db).names()
    unique = list(dict.fromkeys(ids))[:NAMED_MAX]
    found = names.find(unique)
    named = {
        track_id: Named(artists=one.artists, duration_ms=None if one.seconds is None else round(one.seconds * 1000))
        for track_id, one in found.items()
    }
    return named, names.is_whole or len(named) == len(unique)


def _sounds(ids: Sequence[str], context: JobContext) -> dict[str, Json]:
    """Return the features of those tracks of which anything is known."""
    unique = list(dict.fromkeys(ids))
    found: dict[str, Json] = {}
    for start in range(0, len(unique), TRACKS_AT_A_TIME):
        some = unique[start : start + TRACKS_AT_A_TIME]
        stored = audio_features.find_tracks(context.library, context.user_id, some)
        found |= {track_id: values for track_id, one in stored.items() if (values := known_values(one))}
    return found


def _draw(found: Json, sounds: Mapping[str, Json], ids: Sequence[str], title: str, context: JobContext) -> None:
    known = [sounds[one] for one in ids if one in sounds]
    by_feature = {name: [one[name] for one in known if name in one] for name in FEATURES}
    by_feature = {name: values for name, values in by_feature.items() if values}
    if not by_feature:
        return
    shares = radar_values(found)
    figures = {"distributions": resolve(f"{PICTURES}distributions")(by_feature, title)}
    if shares:
        figures["radar"] = resolve(f"{PICTURES}radar")(shares, title)
    for name, figure in figures.items():
        for ending, media_type, content in resolve(f"{PICTURES}files")(figure):
            _keep(f"{name}.{ending}", media_type, content, context)


def _keep(filename: str, media_type: str, content: bytes, context: JobContext) -> None:
    moment = now()
    artifact = Artifact(
        id=artifact_id(context.job_id, filename),
        job_id=context.job_id,
        name=filename,
        filename=filename,
        content_type=media_type,
        segments=(Segment(data=content, size=len(content)),),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        created_at=moment,
        expires_at=moment + context.settings.artifact_ttl,
    )
    artifacts.save(context.library, artifact)
