"""Which file of ours a track is: by its ISRC, its MusicBrainz id, or by title, artist and length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from shared.model import Db
from shared.store import audio_files
from shared.store.audio_files import AudioFile
from workers.audio.tags import RECORDING, name_key
from workers.providers.service import Metadata

SECONDS_APART = 3.0
"""Two files of one recording are no further apart: pressings differ in the silence at their ends."""
ARTIST_LIKENESS_MIN = 0.8
ISRC_SCORE = 0.98
"""Registrants have given one code to two recordings."""
NAME_SCORE = 0.9
"""Of names that are the same, and a length that is: a live recording may have both."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """The file that a track was found to be."""

    file: AudioFile
    by: str  # isrc, musicbrainz or name
    score: float  # 0 to 1


def match(db: Db, track_ids: Sequence[str], known: Mapping[str, Metadata]) -> dict[str, Match]:
    """Return the best match of each track that has one; `known` says what the tracks are, as far as anybody does."""
    found = _by_name(db, known)
    codes = {track_id: one.isrc.upper().replace("-", "") for track_id, one in known.items() if one.isrc}
    found |= _by_tag(db, "isrc", "isrc", codes, ISRC_SCORE, known)
    recordings = {track_id: track_id.lower() for track_id in track_ids if RECORDING.fullmatch(track_id.lower())}
    return found | _by_tag(db, "recordingId", "musicbrainz", recordings, 1.0, known)


def _by_tag(
    db: Db, tag: str, by: str, wanted: Mapping[str, str], score: float, known: Mapping[str, Metadata]
) -> dict[str, Match]:
    """Return the file that bears each track's value; of several the one whose length is nearest to the track's."""
    bearing: dict[str | None, list[AudioFile]] = {}
    for file in audio_files.find_by_tag(db, tag, sorted(set(wanted.values()))) if wanted else ():
        bearing.setdefault(_value(file, tag), []).append(file)
    return {
        track_id: Match(
            file=min(bearing[value], key=lambda file: (_apart(known.get(track_id), file), file.path)),
            by=by,
            score=score,
        )
        for track_id, value in wanted.items()
        if value in bearing
    }


def _apart(one: Metadata | None, file: AudioFile) -> float:
    """Return by how many seconds a file is longer or shorter than a track; endless where either is not known."""
    length = file.tags.seconds if file.tags else None
    return math.inf if one is None or one.seconds is None or length is None else abs(one.seconds - length)


def _value(file: AudioFile, tag: str) -> str | None:
    assert file.tags is not None  # by which it was found
    return file.tags.isrc if tag == "isrc" else file.tags.recording_id


def _by_name(db: Db, known: Mapping[str, Metadata]) -> dict[str, Match]:
    keys = {track_id: name_key(one.title) for track_id, one in known.items()}
    titles = sorted({key for key in keys.values() if key})
    files = audio_files.find_by_tag(db, "titleKey", titles) if titles else []
    found = {}
    for track_id, one in known.items():
        scored = [
            (_name_score(one, file), file) for file in files if file.tags and file.tags.title_key == keys[track_id]
        ]
        score, best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
        if best is not None and score > 0:
            found[track_id] = Match(file=best, by="name", score=round(score, 3))
    return found


def _name_score(one: Metadata, file: AudioFile) -> float:
    """Return how sure it is that a file of the same title is the track; 0 where its artist or length is another."""
    tags = file.tags
    if tags is None or one.seconds is None or tags.seconds is None or not tags.artist_key:
        return 0.0
    artists = [name_key(artist) for artist in one.artists]
    likeness = max(
        (SequenceMatcher(None, artist, tags.artist_key).ratio() for artist in (*artists, " ".join(artists)) if artist),
        default=0.0,
    )
    apart = abs(one.seconds - tags.seconds)
    if likeness < ARTIST_LIKENESS_MIN or apart > SECONDS_APART:
        return 0.0
    return NAME_SCORE * likeness * (1 - apart / (4 * SECONDS_APART))
