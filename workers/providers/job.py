"""The work of the job kind `track_features`: ids in, what anybody knows of them stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from shared.clock import now
from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.job import JobContext
from shared.jobs.track_features import FeaturesRequest, Item, Local, Result, left_out, order, store
from shared.ladder import known_values
from shared.providers import FIELDS, Provider
from shared.store import audio_features
from workers.providers.asking import Asking, Track, note
from workers.providers.errors import NotNow
from workers.providers.local import LocalAudio
from workers.providers.parking import parked
from workers.providers.services import services
from workers.providers.uploads import Uploads

FRESH = timedelta(hours=1)
"""What was said in this time is not asked again even by force: the chunk may have been put back half way."""


def find_features(request: FeaturesRequest, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each track's outcome, as soon as everybody has been heard who may be asked for it.

    Raises:
        NotYet: a provider's budget is spent. What the others have said is stored until it is back.
    """
    tracks = [Track(id=item.track_id) for item in items]
    stored = _take_stored(tracks, request, context)
    known = services(context.settings, context.db)
    asking = Asking(known.by_provider, known.flights, context.db, context.settings)
    local: Mapping[str, Local] = {}
    since = now() - FRESH if request.force else None
    for provider in left_out(request, context.settings):
        note(tracks, provider, "is not among those that this installation asks")
    for provider in order(request, context.settings):
        if provider is Provider.LOCAL:
            local = LocalAudio(known.names(), context.db, context.settings).take(tracks)
        elif provider is Provider.RECCOBEATS_UPLOAD:
            Uploads(known.reccobeats, known.flights, context.db, context.settings).take(tracks, local)
        else:
            asking.ask(provider, tracks, since=since)
    for place, track in enumerate(tracks):
        if track.waits and track.missing:
            store(request, [_result(one, local) for one in tracks[place:]], context)
            raise parked(_first_over(tracks[place:]))
        yield _outcome(track, local, is_stored=track.id in stored)


def _take_stored(tracks: Sequence[Track], request: FeaturesRequest, context: JobContext) -> set[str]:
    """Let the tracks begin with what stands in the user's documents; return those of which everything is known."""
    if request.force:
        return set()
    known = audio_features.find_tracks(context.library, context.user_id, [track.id for track in tracks])
    for track in tracks:
        track.missing -= known_values(known.get(track.id, {})).keys()
    return {track.id for track in tracks if not track.missing}


def _first_over(tracks: Sequence[Track]) -> NotNow:
    """Return the wait that ends first: who waits for a day at one provider may ask another in a second."""
    waits = [wait for track in tracks if track.missing for wait in track.waits]
    return min(waits, key=lambda wait: wait.seconds)


def _result(track: Track, local: Mapping[str, Local]) -> Result:
    known = len(FIELDS) - len(track.missing)
    return Result(track_id=track.id, known=known, reasons=track.reasons, local=local.get(track.id))


def _outcome(track: Track, local: Mapping[str, Local], *, is_stored: bool) -> ItemOutcome:
    result = _result(track, local)
    if result.known == 0:
        said = "; ".join(f"{provider}: {reason}" for provider, reason in track.reasons.items()) or "nobody was asked"
        return failed("unknown_track", f"Nobody knows the features of {track.id!r}: {said}.")
    return succeeded(result, cached=is_stored)
