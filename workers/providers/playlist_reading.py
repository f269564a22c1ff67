"""Reading the playlist of a job: page by page, each stored at once, so that a wait repeats none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.clock import now
from shared.errors import PlanFailed, PlaylistUnreadable, ProviderNotSetUp, Reconnect
from shared.jobs.job import JobContext
from shared.jobs.playlist_analysis import Request, playlist_id_of
from shared.store import playlist_reads
from shared.store.playlist_reads import PlaylistRead, PlaylistTrack
from workers.providers.errors import UNAVAILABLE, NotNow, ProviderError, Refused, Revoked
from workers.providers.parking import is_worth_waiting, parked
from workers.providers.playlists import Asker, Page, Playlists
from workers.providers.services import Services, services

PLACES_MAX = 20_000
"""Spotify's playlists end at 10,000 places; an answer that never ends is none of a playlist."""


def track_ids(request: Request, context: JobContext) -> Sequence[str]:
    """Return the ids of the playlist's tracks in their order, read from Spotify where that is not done yet.

    Raises:
        PlaylistUnreadable, Reconnect, ProviderNotSetUp: it can't be read.
        NotYet: nobody may ask now.
    """
    read = playlist_reads.find(context.library, context.job_id) or _begun(request, context)
    while read.next_offset is not None:
        read = _read_on(read, context)
    return [track.id for track in read.tracks]


def _begun(request: Request, context: JobContext) -> PlaylistRead:
    playlist_id = playlist_id_of(request.playlist or "")
    assert playlist_id is not None  # else the request would not be valid
    moment = now()
    heading, is_degraded = None, False
    for playlists in _ways(context):
        try:
            heading = playlists.heading(playlist_id)
            is_degraded = heading.degraded
            break
        except ProviderError as error:
            _wait_or_pass(error, context)
            is_degraded = isinstance(error, UNAVAILABLE)
    read = PlaylistRead(
        id=context.job_id,
        playlist_id=playlist_id,
        name=heading.name if heading else None,
        owner_name=heading.owner_name if heading else None,
        degraded=is_degraded,
        expires_at=moment + context.settings.job_ttl,
    )
    playlist_reads.begin(context.library, read)
    return read


def _read_on(read: PlaylistRead, context: JobContext) -> PlaylistRead:
    """Read one page more, and return what there is then."""
    offset = read.next_offset or 0
    if offset > PLACES_MAX:
        raise PlaylistUnreadable(f"The playlist {read.playlist_id} does not end.")
    page = _page(read.playlist_id, offset, context)
    tracks = [PlaylistTrack.model_validate(dict(one)) for one in page.tracks]
    playlist_reads.add_page(
        context.library, read, tracks, skipped=page.skipped, next_offset=page.next_offset, stale=page.stale
    )
    again = playlist_reads.find(context.library, context.job_id)
    assert again is not None  # it is kept as long as its job
    return again


def _page(playlist_id: str, offset: int, context: JobContext) -> Page:
    """Return a page, as the user who asks for it, or else as the app."""
    errors: list[ProviderError] = []
    for playlists in _ways(context):
        try:
            return playlists.page(playlist_id, offset)
        except ProviderError as error:
            _wait_or_pass(error, context)
            errors.append(error)
    raise _refusal(playlist_id, errors)


def _ways(context: JobContext) -> Iterator[Playlists]:
    """Yield the ways to read a playlist: as the user, if they were connected, and as the app."""
    known = services(context.settings, context.db)
    askers = list(_askers(known, context))
    if not askers:
        raise ProviderNotSetUp("Playlists are read at Spotify, where there are no credentials of an app for.")
    return (Playlists(asker, known.endpoints, known.cache) for asker in askers)


def _askers(known: Services, context: JobContext) -> Iterator[Asker]:
    users = known.spotify_users
    if users is not None and users.tokens.is_known(context.owner, context.user_id):
        yield users.of(context.owner, context.user_id)
    if known.spotify_app is not None:
        yield known.spotify_app


def _wait_or_pass(error: ProviderError, context: JobContext) -> None:
    """Let the job wait for what is over in time. Raises `NotYet`."""
    if isinstance(error, NotNow) and is_worth_waiting(error, context.settings):
        raise parked(error)


def _refusal(playlist_id: str, errors: Sequence[ProviderError]) -> PlanFailed:
    """Return why a playlist can't be read: that a user has to connect anew comes first, for they can do it."""
    revoked = next((error for error in errors if isinstance(error, Revoked)), None)
    if revoked is not None:
        return Reconnect(f"The playlist {playlist_id} can't be read: {revoked.message}")
    refused = next((error for error in errors if isinstance(error, Refused)), errors[-1])
    return PlaylistUnreadable(f"The playlist {playlist_id} can't be read: {refused.message}")
