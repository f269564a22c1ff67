"""The last rung of the ladder: audio of ours that a track was found to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.jobs.track_features import Local
from shared.ladder import known_values
from shared.model import Db
from shared.providers import Provider
from shared.settings import Settings
from shared.store import audio_files, contents
from workers.providers.asking import Track, note_wait
from workers.providers.matching import match
from workers.providers.service import Metadata
from workers.providers.track_names import TrackNames

UNKNOWN = "no file is known to be it"


class LocalAudio:
    """Finds tracks among the files that were analysed."""

    def __init__(self, names: TrackNames, db: Db, settings: Settings) -> None:
        """Prepare; nobody is asked."""
        self._settings = settings
        self._names = names
        self._db = db

    def take(self, tracks: Sequence[Track]) -> dict[str, Local]:
        """Let the tracks that want more take what their audio says; return where that is, by track id."""
        wanting = [track for track in tracks if track.wants_more]
        for track in wanting:
            track.reasons[Provider.LOCAL.value] = UNKNOWN
        if not wanting or not audio_files.have_tags(self._db):
            return {}
        ids = [track.id for track in wanting]
        known = self._names.find(ids)
        found = match(self._db, ids, known)
        placed = {}
        for track in wanting:
            if track.id not in found:
                self._wait_unless_known(track, known)
                continue
            one = found[track.id]
            content = contents.find_latest(self._db, one.file.content_hash or "")
            if content is not None:
                del track.reasons[Provider.LOCAL.value]
                track.take(Provider.LOCAL, known_values(content.features.to_document()))
                placed[track.id] = Local(
                    content_hash=content.content_hash,
                    version=content.version,
                    path=one.file.path,
                    by=one.by,
                    score=one.score,
                )
        return placed

    def _wait_unless_known(self, track: Track, known: Mapping[str, Metadata]) -> None:
        """Let a track wait for whoever can say what it is, where nobody could so far."""
        if self._names.spent is not None and track.id not in known:
            note_wait([track], *self._names.spent, self._settings)
