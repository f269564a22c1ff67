"""The work of the job kind `history_sync`: plays read behind a cursor, stored, and the cursor moved on after that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.history_sync import Item, Request, Result
from shared.jobs.job import JobContext
from shared.store import connections, listening_history
from shared.store.connections import Connection
from shared.store.listening_history import Play
from workers.providers.errors import Malformed, NotNow, ProviderError, Revoked
from workers.providers.parking import is_worth_waiting, parked
from workers.providers.services import services
from workers.providers.spotify_user import PLAYS_MAX, SpotifyUser

PAGES_MAX = 20
"""Spotify remembers one page; what goes on for longer is no history."""


@dataclass(frozen=True, kw_only=True)
class _Page:
    plays: Sequence[Play]
    until_ms: int | None


def sync(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each user's outcome; what was read of them is stored by then. Raises `NotYet` where nobody may ask now."""
    users = services(context.settings, context.db).spotify_users
    for item in items:
        known = connections.find(context.db, context.owner, item.user_id)
        if users is None or known is None:
            yield failed("not_connected", f"The account of {item.user_id!r} at Spotify is not connected.")
            continue
        try:
            yield succeeded(_sync(users.of(context.owner, item.user_id), known, context))
        except Revoked as error:
            yield failed("reconnect", f"{item.user_id!r} has to connect their account anew: {error.message}")
        except NotNow as error:
            if is_worth_waiting(error, context.settings):
                raise parked(error) from None
            yield failed(error.code, error.message)
        except ProviderError as error:
            yield failed(error.code, error.message)


def _sync(user: SpotifyUser, known: Connection, context: JobContext) -> Result:
    """Store what a user has played since their last sync, page by page."""
    after, new, old = known.history_after, 0, 0
    for _ in range(PAGES_MAX):
        said = user.recently_played(after)
        page = _page(said)
        fresh = listening_history.add(context.library, known.user_id, page.plays)
        new, old = new + fresh, old + len(page.plays) - fresh
        if page.until_ms is None or page.until_ms <= (after or 0):
            break
        after = page.until_ms
        connections.move_history(context.db, known, after)  # behind the writes: what is lost in between is read again
        if len(said) < PLAYS_MAX:
            break
    until = None if after is None else datetime.fromtimestamp(after / 1000, UTC)
    return Result(user_id=known.user_id, plays=new, known=old, until=until)


def _page(said: Sequence[Mapping[str, Any]]) -> _Page:
    """Return the plays of tracks, and when the last of anything was. Raises `Malformed`."""
    plays, moments = [], []
    for one in said:
        moment = _moment(one.get("played_at"))
        moments.append(moment)
        track = one.get("track")
        if isinstance(track, dict) and isinstance(track.get("id"), str):
            plays.append(Play(track_id=track["id"], played_at=moment))
    until = max(moments, default=None)
    return _Page(plays=plays, until_ms=None if until is None else round(until.timestamp() * 1000))


def _moment(text: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Malformed("Spotify does not say when a track was played.") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)  # what MongoDB keeps
