"""The job kind `track_features`: ids of tracks in, the best features that anybody has of them merged in MongoDB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from shared.broker import Queue
from shared.items import ItemStatus
from shared.jobs import audio_features as files
from shared.jobs.job import JobContext, JobKind, JobRequest, Planned
from shared.ladder import Answer, Merged, known_values
from shared.ladder import merge as climb
from shared.model import Body, Cursor, Json
from shared.providers import ASKED, Provider, checked_providers
from shared.settings import Settings
from shared.store import audio_features, contents, disagreements, provider_answers


def _is_asked(one: Provider) -> Provider:
    if one not in ASKED:
        raise ValueError(f"is nobody to ask: those are {', '.join(ASKED)}")
    return one


Asked = Annotated[Provider, AfterValidator(_is_asked), WithJsonSchema({"enum": list(ASKED), "type": "string"})]
IDS_MAX = 10_000
CHUNK = 200
"""Whole batches of every provider: twice 100, five times 40."""


class FeaturesRequest(JobRequest):
    """For whom features are wanted, and who may be asked."""

    providers: tuple[Asked, ...] = Field(
        default=(),
        description=(
            "Only these of whom the installation asks, in this order; else all of them. `reccobeats_upload` counts with"
            " `local` alone, and where the operator lets audio be sent"
        ),
    )
    force: bool = Field(default=False, description="Let what the providers say take the place of what is stored")


class Request(FeaturesRequest):
    """Which tracks, for whom, and who may be asked."""

    track_ids: tuple[files.TrackId, ...] = Field(
        min_length=1, max_length=IDS_MAX, description="Spotify's ids of tracks, or your own"
    )


class Item(Body):
    """One track."""

    track_id: str


class Local(Body):
    """The audio that a track was found to be."""

    content_hash: str
    version: str
    path: str
    by: str = Field(description="What told: isrc, musicbrainz or name (title, artist and length)")
    score: float = Field(description="How sure that is, 0 to 1")


class Result(Body):
    """How much is known of a track, and why it is not more."""

    track_id: str
    known: int = Field(description="Features with a value")
    reasons: dict[str, str] = Field(description="Why a provider gave nothing")
    local: Local | None = None


class Summary(files.Summary):
    """What the user's whole library holds after the job, from whichever jobs that came."""


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield each id once, in the order of the request."""
    ids = list(dict.fromkeys(request.track_ids))
    for place in range(int((cursor or {}).get("place", 0)), len(ids)):
        yield Planned(item=Item(track_id=ids[place]), cursor={"place": place + 1})


def order(request: FeaturesRequest, settings: Settings) -> tuple[Provider, ...]:
    """Return who is asked for a request, in that order: never more than the installation asks. Raises `WrongSetting`.

    Whether audio may be sent to ReccoBeats is for the operator's setting alone to say, and nobody comes after that.
    """
    known = checked_providers(settings.feature_providers)
    named = tuple(dict.fromkeys(request.providers)) or known
    asked = tuple(one for one in named if one in known and one is not Provider.RECCOBEATS_UPLOAD)
    is_wanted = Provider.RECCOBEATS in named or Provider.RECCOBEATS_UPLOAD in named
    may_upload = settings.reccobeats_upload and is_wanted and Provider.LOCAL in asked
    return (*asked, Provider.RECCOBEATS_UPLOAD) if may_upload else asked


def left_out(request: FeaturesRequest, settings: Settings) -> tuple[Provider, ...]:
    """Return whom a request names and the installation does not ask. Raises `WrongSetting`."""
    known = (*checked_providers(settings.feature_providers), Provider.RECCOBEATS_UPLOAD)
    return tuple(one for one in dict.fromkeys(request.providers) if one not in known)


def merge(request: Request, pairs: Sequence[tuple[Item, Result]], context: JobContext) -> None:
    """Merge what is known of each track field by field, and keep where providers disagree."""
    store(request, [result for _, result in pairs], context)


def store(request: FeaturesRequest, results: Sequence[Result], context: JobContext) -> None:
    """Store the features of tracks, from what the providers are known to have said of them."""
    ids = [result.track_id for result in results]
    before = audio_features.find_tracks(context.library, context.user_id, ids)
    merged = merged_tracks(request, results, before, context)
    matches = {one.track_id: {"localMatch": one.local.to_json()} for one in results if one.local is not None}
    audio_features.upsert_merged(context.library, context.user_id, list(merged.items()), before=before, more=matches)
    apart = [(track_id, one) for track_id, found in merged.items() for one in found.disagreements]
    settled = [(track_id, *one) for track_id, found in merged.items() for one in found.settled]
    disagreements.save(context.library, context.user_id, apart, settled=settled)


def merged_tracks(
    request: FeaturesRequest, results: Sequence[Result], stored: Mapping[str, Json], context: JobContext
) -> dict[str, Merged]:
    """Return the best features of each track, from what is `stored` and what the providers are known to have said."""
    asked = order(request, context.settings)
    said = provider_answers.find(context.db, asked, [result.track_id for result in results])
    if Provider.RECCOBEATS_UPLOAD in asked:
        hashes = [result.local.content_hash for result in results if result.local is not None]
        said |= provider_answers.find(context.db, [Provider.RECCOBEATS_UPLOAD], hashes)
    found = {}
    for result in results:
        before = stored_answers(stored.get(result.track_id))
        fresh = [
            Answer(provider=provider, values=answer.values)
            for provider in asked
            if (answer := said.get((provider, _subject(provider, result)))) is not None and answer.is_known
        ]
        if result.local is not None and Provider.LOCAL in asked:
            fresh += local_answers(result.local, context)
            fresh.sort(key=lambda answer: asked.index(answer.provider))
        found[result.track_id] = climb([*fresh, *before] if request.force else [*before, *fresh], result.reasons)
    return found


def _subject(provider: Provider, result: Result) -> str:
    """Return what a provider's answer stands under: the track's id, or the content of the audio that was sent."""
    if provider is Provider.RECCOBEATS_UPLOAD:
        return result.local.content_hash if result.local is not None else ""
    return result.track_id


def stored_answers(track: Json | None) -> list[Answer]:
    """Return what stands in a user's document of a track, by who said it."""
    return [] if track is None else audio_features.answers_in(track)


def local_answers(local: Local, context: JobContext) -> list[Answer]:
    """Return what the audio itself says."""
    content = contents.find(context.db, local.content_hash, (local.version,))
    if content is None:
        return []
    values = known_values(content.features.to_document())
    answer = Answer(provider=Provider.LOCAL, values=values, confidence=content.confidence, reasons=content.reasons)
    return [answer]


def summarise(request: Request, counts: Mapping[ItemStatus, int], context: JobContext) -> Summary:
    """Average what the user has now, and store it with the user, once."""
    return Summary.model_validate(files.summarise_library(counts, context).model_dump())


def present(results: Sequence[Json], context: JobContext) -> list[Json]:
    """Show the merged features of each track in place of the reference that its outcome holds."""
    known = audio_features.find_tracks(context.library, context.user_id, [result["trackId"] for result in results])
    return [known.get(result["trackId"], result) for result in results]


KIND = JobKind(
    name="track_features",
    tool="find_track_features",
    title="Find features of tracks by their ids",
    description=(
        "Find the audio features of tracks by their Spotify ids: what is stored, what Spotify still answers, what"
        " ReccoBeats knows, what local audio yields, field by field. Use it where there is an id and no file."
    ),
    queue=Queue.IO,
    request=Request,
    item=Item,
    result=Result,
    summary=Summary,
    plan=plan,
    work="workers.providers.job:find_features",
    merge=merge,
    summarise=summarise,
    present=present,
    item_seconds=0.02,
    chunk_items_max=CHUNK,
    chunk_items_min=CHUNK,
    asks_providers=True,
    examples=({"userId": "ada", "trackIds": ["4uLU6hMCjMI75M1A2tKUQC"]},),
)
