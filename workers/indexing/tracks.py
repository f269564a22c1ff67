"""The tracks that were analysed as the source of an index."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np

from shared.jobs.vector_index import join_track_key, split_track_key
from shared.ladder import known_values
from shared.model import Db, Json
from shared.paths import from_text
from shared.store import audio_features, catalogue, contents
from shared.store.catalogue import CatalogueEntry
from shared.store.clients import number_of
from shared.store.contents import content_id
from workers.indexing.sources import Found
from workers.vectors.collections import AUDIO, AUDIO_DIMENSIONS, FEATURES, TRACK, USER, tracks_schema
from workers.vectors.embedding import Floats
from workers.vectors.schema import Entry, Schema

TAG_MIN = 0.1
"""What the tagging model is less sure of is no tag."""
TAGS_MAX = 8


class TracksSource:
    """Every track of every user of an owner, with what the catalogue says about it.

    What came from Spotify is left out unless the operator has the right to use it `with_spotify`.
    """

    def __init__(self, library: Db, db: Db, *, with_spotify: bool = False) -> None:
        self._library = library
        self._db = db
        self._with_spotify = with_spotify

    def schema(self, text_dimensions: int) -> Schema:
        """Return the form of the entries."""
        return tracks_schema(text_dimensions)

    def ids(self, since: datetime | None = None) -> Iterator[str]:
        """Yield the ids of all tracks, or of those that have changed since, or of which something else is said."""
        for user_id, track_id in audio_features.iterate_keys(self._library, since=since):
            yield join_track_key(user_id, track_id)
        if since is not None:
            renamed = sorted(catalogue.find_changed_track_ids(self._library, since))
            for user_id, track_id in audio_features.find_keys_of(self._library, renamed):
                yield join_track_key(user_id, track_id)

    def find(self, ids: Sequence[str]) -> dict[str, Found]:
        """Return the tracks that are there."""
        tracks = self._tracks(ids)
        said = catalogue.find_by_track_ids(self._library, [track["trackId"] for track in tracks.values()])
        content_ids = {one: _content_id(track) for one, track in tracks.items()}
        sounds = contents.find_vectors(self._db, [one for one in content_ids.values() if one])
        return {
            one: _found(one, track, said.get(track["trackId"]), sounds.get(content_ids[one] or ""))
            for one, track in tracks.items()
        }

    def _tracks(self, ids: Sequence[str]) -> dict[str, Json]:
        by_user: dict[str, list[str]] = defaultdict(list)
        for one in ids:
            user_id, track_id = split_track_key(one)
            by_user[user_id].append(track_id)
        return {
            join_track_key(user_id, track_id): track if self._with_spotify else audio_features.without_spotify(track)
            for user_id, track_ids in by_user.items()
            for track_id, track in audio_features.find_tracks(self._library, user_id, track_ids).items()
        }


def _content_id(track: Json) -> str | None:
    """Return the key of the content that a track is; None where its features are not from audio of ours."""
    known = track.get("provenance")
    if not (isinstance(known, dict) and track.get("contentHash") and known.get("version") and known.get("effort")):
        return None
    return content_id(track["contentHash"], f"{known['version']}-{known['effort']}")


def _found(one: str, track: Json, said: CatalogueEntry | None, sound: bytes | None) -> Found:
    title = said.title if said else _name_of_file(track)
    artists = said.artists if said else ()
    tags = _tags(track, said)
    vector = _vector(sound)
    known = known_values(track)  # one number beyond all bounds would make all others seem alike
    length = known.get("duration_ms")
    return Found(
        text=". ".join(
            part for part in (title, f"by {', '.join(artists)}" if artists else "", ", ".join(tags)) if part
        ),
        entry=Entry(
            id=one,
            vectors={} if vector is None else {AUDIO: vector},
            texts={
                "title": [title] if title else [],
                "artists": artists,
                "album": [said.album] if said and said.album else [],
                "tags": tags,
            },
            attributes={
                USER: track["userId"],
                TRACK: track["trackId"],
                "tags": tags,
                "artists": artists,
                "duration": None if length is None else length * 1e-3,
                **{name: known.get(name) for name in FEATURES},
            },
        ),
    )


def _name_of_file(track: Json) -> str:
    path = track.get("path")
    if not isinstance(path, str):
        return ""
    stem, _ = os.path.splitext(os.path.basename(from_text(path)))
    return stem.decode("utf-8", "replace")


def _tags(track: Json, said: CatalogueEntry | None) -> list[str]:
    heard = track.get("tags")
    shares = heard.items() if isinstance(heard, dict) else ()
    clear = [tag for tag, share in shares if number_of(share, TAG_MIN, 1.0) is not None]
    return list(dict.fromkeys((*(said.tags if said else ()), *clear[:TAGS_MAX])))


def _vector(sound: bytes | None) -> Floats | None:
    if sound is None:
        return None
    vector = np.frombuffer(sound, "<f4")
    return vector if vector.shape == (AUDIO_DIMENSIONS,) and np.isfinite(vector).all() and vector.any() else None
