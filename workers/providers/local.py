"""The last rung of the ladder: audio of ours that a track was found to be."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from shared.cache import Cache, CacheKind
from shared.jobs.track_features import Local
from shared.ladder import known_values
from shared.model import Db
from shared.providers import Provider
from shared.settings import Settings
from shared.store import audio_files, contents
from workers.providers.asking import Track, note_wait
from workers.providers.errors import BudgetSpent, ProviderError, Throttled
from workers.providers.matching import match
from workers.providers.service import FeatureService, Metadata

logger = logging.getLogger(__name__)

UNKNOWN = "no file is known to be it"


class LocalAudio:
    """Finds tracks among the files that were analysed."""

    def __init__(self, services: Mapping[Provider, FeatureService], cache: Cache, db: Db, settings: Settings) -> None:
        """Prepare; nobody is asked."""
        self._settings = settings
        self._spent: tuple[Provider, BudgetSpent | Throttled] | None = None  # who could not say what tracks are
        self._services = services
        self._cache = cache
        self._db = db

    def take(self, tracks: Sequence[Track]) -> dict[str, Local]:
        """Let the tracks that want more take what their audio says; return where that is, by track id."""
        wanting = [track for track in tracks if track.wants_more]
        for track in wanting:
            track.reasons[Provider.LOCAL.value] = UNKNOWN
        if not wanting or not audio_files.have_tags(self._db):
            return {}
        ids = [track.id for track in wanting]
        known = self._metadata(ids)
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
        if self._spent is not None and track.id not in known:
            note_wait([track], *self._spent, self._settings)

    def _metadata(self, ids: Sequence[str]) -> dict[str, Metadata]:
        """Return what the tracks are, by whoever knows, and remember it for a day."""
        known: dict[str, Metadata] = {}
        for service in self._tellers():
            lacking = [one for one in ids if service.takes(one) and (one not in known or known[one].isrc is None)]
            for batch in _batches(lacking, service.batch_size):
                known |= self._of_batch(service, batch)
        return known

    def _tellers(self) -> Iterator[FeatureService]:
        # Spotify comes last: many an app may only read one track a call there.
        return (self._services[one] for one in (Provider.RECCOBEATS, Provider.SPOTIFY) if one in self._services)

    def _of_batch(self, service: FeatureService, ids: Sequence[str]) -> dict[str, Metadata]:
        key = f"{service.provider.value}:{hashlib.sha256(','.join(ids).encode()).hexdigest()[:32]}"
        try:
            said = self._cache.get(
                CacheKind.METADATA,
                key,
                lambda: {one: asdict(found) for one, found in service.metadata(ids).items()},
                errors=ProviderError,
                tags=[f"track:{one}" for one in ids],
            )
        except (BudgetSpent, Throttled) as error:
            self._spent = (service.provider, error)
            return {}
        except ProviderError as error:  # what it is can't be known now; an id that is MusicBrainz' needs nobody
            logger.info("%s does not say what %d tracks are: %s", service.provider.value, len(ids), error)
            return {}
        return {one: Metadata(**{**found, "artists": tuple(found["artists"])}) for one, found in said.value.items()}


def _batches(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
