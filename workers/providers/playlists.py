"""Playlists at Spotify: by their new endpoint or the old one, as the user if they are connected, else as the app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import spotipy

from shared.cache import Cache, CacheKind
from workers.providers.endpoints import Endpoints
from workers.providers.errors import DOWN, UNAVAILABLE, EndpointClosed, Malformed, Refused

PLAYLIST, ITEMS, OLD_ITEMS = "playlist", "playlist-items", "playlist-tracks"
PATHS: Mapping[str, str] = {ITEMS: "items", OLD_ITEMS: "tracks"}
PAGE = 50
"""So many places a call tells of; the old endpoint would take a hundred."""
FIELDS = "name,owner(display_name)"
Found = TypeVar("Found")


class Asker(Protocol):
    """Somebody as whom Spotify is asked."""

    @property
    def identity(self) -> str:
        """Return who that is."""

    def call(self, endpoint: str, ask: Callable[[spotipy.Spotify], Found]) -> Found:
        """Return an answer. Raises `ProviderError`."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some places of a playlist."""

    tracks: tuple[Mapping[str, Any], ...]  # id, title, artists, duration_ms, popularity
    skipped: int
    next_offset: int | None
    stale: bool = field(default=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What a playlist is called."""

    name: str | None
    owner_name: str | None
    degraded: bool = False  # nobody could be asked for it


class Playlists:
    """Reads playlists as one asker."""

    def __init__(self, asker: Asker, endpoints: Endpoints, cache: Cache) -> None:
        """Prepare; nothing is asked."""
        self._asker = asker
        self._endpoints = endpoints
        self._cache = cache

    def heading(self, playlist_id: str) -> Heading:
        """Return what a playlist is called; nothing where Spotify does not say, or is down.

        Raises `ProviderError`: it refuses, or is to be asked later.
        """
        try:
            found = self._cache.get(
                CacheKind.LIBRARY,
                f"playlist:{playlist_id}:{self._asker.identity}",
                lambda: self._ask_for_heading(playlist_id),
                errors=DOWN,
                tags=self._tags(playlist_id),
                minimal=lambda: {"name": None, "owner_name": None},
            )
        except EndpointClosed:  # what it holds may be told nevertheless
            return Heading(name=None, owner_name=None)
        return Heading(**found.value, degraded=found.degraded)

    def page(self, playlist_id: str, offset: int, *, fresh: bool = False) -> Page:
        """Return the places from `offset` on, as old as the cache lets them be unless they must be `fresh`.

        Raises `ProviderError`.
        """
        key = f"playlist:{playlist_id}:{self._asker.identity}:{offset}"
        recipe = {"what": "playlist", "playlist": playlist_id, "as": self._asker.identity, "offset": offset}
        tags = self._tags(playlist_id)
        if fresh:
            generation = self._cache.generation()
            page = self._ask_for_page(playlist_id, offset)
            self._cache.put(CacheKind.LIBRARY, key, asdict(page), tags=tags, recipe=recipe, generation=generation)
            return page
        found = self._cache.get(
            CacheKind.LIBRARY,
            key,
            lambda: asdict(self._ask_for_page(playlist_id, offset)),
            errors=UNAVAILABLE,
            tags=tags,
            recipe=recipe,
        )
        value = found.value
        return Page(
            tracks=tuple(value["tracks"]),
            skipped=value["skipped"],
            next_offset=value["next_offset"],
            stale=found.stale,
        )

    def _tags(self, playlist_id: str) -> list[str]:
        identity = self._asker.identity
        return [f"playlist:{playlist_id}", f"user:{identity.partition('/')[2] or identity}"]

    def _ask_for_heading(self, playlist_id: str) -> dict[str, str | None]:
        def ask(client: spotipy.Spotify) -> Any:
            return client.playlist(playlist_id, fields=FIELDS)

        found = self._asker.call(PLAYLIST, ask)
        self._endpoints.open(PLAYLIST)
        if not isinstance(found, dict):
            raise Malformed("Spotify's answer is not what its documentation says.")
        owner = found.get("owner")
        return {
            "name": _text(found.get("name")),
            "owner_name": _text(owner.get("display_name")) if isinstance(owner, dict) else None,
        }

    def _ask_for_page(self, playlist_id: str, offset: int) -> Page:
        """Ask the endpoint that is known to work first; what refuses while the other one answers is remembered."""
        refused: dict[str, Refused] = {}
        for endpoint in sorted(PATHS, key=self._endpoints.is_closed):
            try:
                found = self._asker.call(endpoint, partial(_items, playlist_id, PATHS[endpoint], offset))
            except EndpointClosed as error:
                refused[endpoint] = error
                continue
            for other, refusal in refused.items():
                self._endpoints.close(other, refusal.message)
            self._endpoints.open(endpoint)
            return _page(found, offset)
        raise refused[ITEMS]  # both refuse: that is about the playlist, and nothing is learnt


def _items(playlist_id: str, path: str, offset: int, client: spotipy.Spotify) -> Any:
    # Not by spotipy's own methods: both of them ask the new endpoint.
    wanted = {"limit": PAGE, "offset": offset, "additional_types": "track"}
    return client._get(f"playlists/{playlist_id}/{path}", **wanted)


def _page(found: Any, offset: int) -> Page:
    if not isinstance(found, dict) or not isinstance(found.get("items"), list):
        raise Malformed("Spotify's answer is not what its documentation says.")
    places = found["items"]
    tracks = [track for place in places if (track := _track(place)) is not None]
    end, total = offset + len(places), _whole(found.get("total"))
    has_more = isinstance(found.get("next"), str) and bool(places) and (total is None or end < total)
    return Page(
        tracks=tuple(tracks),
        skipped=len(places) - len(tracks),
        next_offset=end if has_more else None,
    )


def _track(place: Any) -> dict[str, Any] | None:
    """Return what stands at a place: under `item` in the new form, under `track` in the old one."""
    one = place.get("item", place.get("track")) if isinstance(place, dict) else None
    if not isinstance(one, dict) or one.get("type", "track") != "track" or not isinstance(one.get("id"), str):
        return None
    artists = one.get("artists")
    named = [artist for artist in artists if isinstance(artist, dict)] if isinstance(artists, list) else []
    return {
        "id": one["id"],
        "title": _text(one.get("name")) or "",
        "artists": [name for artist in named if (name := _text(artist.get("name")))],
        "duration_ms": _whole(one.get("duration_ms")),
        "popularity": _whole(one.get("popularity")),
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
