"""Audio of ours that ReccoBeats is sent, where the operator lets it: the first 30 s of a file, each content once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import chain

from shared.jobs.track_features import Local
from shared.model import Db
from shared.paths import from_text, is_inside
from shared.providers import Provider
from shared.settings import Settings
from shared.store import audio_files, provider_answers
from workers.audio.clip import clip
from workers.audio.decode import open_audio
from workers.audio.errors import AudioError, UnreadableFileError
from workers.providers.asking import Track, note, note_wait
from workers.providers.errors import Malformed, NotNow, ProviderError, Refused, Transient
from workers.providers.flights import Flights, others_ask
from workers.providers.reccobeats import HEARD, ReccoBeats

KEPT = timedelta(days=3650)
"""What is heard in a recording stays so: it is not sent again."""
ABOUT_THE_FILE = frozenset((400, 413, 415, 422))
"""Refusals that another attempt with the same audio would meet again; they are believed for a while."""
REFUSED = "can't make anything of the file"

Values = Mapping[str, float | int]


class Uploads:
    """Has ReccoBeats hear tracks that are files of ours."""

    def __init__(self, reccobeats: ReccoBeats, flights: Flights, db: Db, settings: Settings) -> None:
        """Prepare; nothing is sent."""
        self._reccobeats = reccobeats
        self._flights = flights
        self._db = db
        self._settings = settings

    def take(self, tracks: Sequence[Track], local: Mapping[str, Local]) -> None:
        """Let tracks take what is heard in the files that they are, where they still want something of that."""
        wanting = [track for track in tracks if track.wants_more and track.id in local and track.missing & HEARD]
        audio = {local[track.id].content_hash: local[track.id] for track in wanting}
        known = provider_answers.find(self._db, [Provider.RECCOBEATS_UPLOAD], list(audio))
        of_hash: dict[str, list[Track]] = {}
        for track in wanting:
            of_hash.setdefault(local[track.id].content_hash, []).append(track)
        for (_, content_hash), answer in known.items():
            _take(of_hash.pop(content_hash), answer.values)
        while of_hash and self._hear(audio[next(iter(of_hash))], of_hash):
            pass

    def _hear(self, one: Local, of_hash: dict[str, list[Track]]) -> bool:
        """Have one file heard, and take its tracks from those that wait; return whether the next may be sent."""
        tracks = of_hash.pop(one.content_hash)
        rest = [*tracks, *chain.from_iterable(of_hash.values())]
        try:
            values = self._heard(one)
        except NotNow as error:
            note_wait(rest, Provider.RECCOBEATS_UPLOAD, error, self._settings)
            return False
        except (Transient, Malformed, AudioError) as error:
            note(tracks, Provider.RECCOBEATS_UPLOAD, error.message)
            return True
        except ProviderError as error:
            note(rest, Provider.RECCOBEATS_UPLOAD, error.message)
            return False
        if values is None:
            note_wait(tracks, Provider.RECCOBEATS_UPLOAD, others_ask(), self._settings)
        else:
            _take(tracks, values)
        return True

    def _heard(self, one: Local) -> Values | None:
        """Return what is heard in a file; None while somebody else has it heard.

        Raises `ProviderError`, `AudioError`.
        """
        with self._flights.asking(Provider.RECCOBEATS_UPLOAD.value, [one.content_hash]) as mine:
            if not mine:
                return None
            # It may have been heard between our look and our turn.
            known = provider_answers.find(self._db, [Provider.RECCOBEATS_UPLOAD], [one.content_hash])
            answer = known.get((Provider.RECCOBEATS_UPLOAD, one.content_hash))
            return self._sent(one) if answer is None else answer.values

    def _sent(self, one: Local) -> Values:
        """Send the beginning of a file, and keep what is heard. Raises `ProviderError`, `AudioError`."""
        wav = self._clip(one)
        try:
            values = self._reccobeats.hear(wav)
        except Refused as error:
            if error.status not in ABOUT_THE_FILE:
                raise
            values = {}
        provider_answers.save(
            self._db,
            Provider.RECCOBEATS_UPLOAD,
            {one.content_hash: values},
            known_for=KEPT,
            unknown_for=timedelta(days=self._settings.unknown_days),
        )
        return values

    def _clip(self, one: Local) -> bytes:
        """Return the beginning of a file that is still what was analysed. Raises `AudioError`."""
        path = from_text(one.path)
        with open_audio(os.path.realpath(path), admit=self._check_inside) as stream:
            known = audio_files.find(self._db, one.path)
            status = os.fstat(stream.file.fileno())
            if known is None or (known.size, known.mtime_ns) != (status.st_size, status.st_mtime_ns):
                raise UnreadableFileError("the file has changed since it was analysed")
            return clip(stream)

    def _check_inside(self, real: bytes) -> None:
        if not is_inside(real, self._settings.music_roots):
            raise UnreadableFileError("the file is outside the folders that may be read (BACKLINE_MUSIC_ROOTS)")


def _take(tracks: Sequence[Track], values: Values) -> None:
    for track in tracks:
        track.missing -= values.keys()
    if not values:
        note(tracks, Provider.RECCOBEATS_UPLOAD, REFUSED)
