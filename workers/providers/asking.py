"""Asking one provider after the other for what is still missing, and keeping what they say for whoever asks next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.model import Db
from shared.providers import FIELDS, Provider
from shared.settings import Settings
from shared.store import provider_answers
from workers.providers.errors import BudgetSpent, Malformed, ProviderError, Refused, Throttled, Transient
from workers.providers.service import FeatureService

LONG_SECONDS = 300.0
"""Who has to wait longer than this for one provider asks the others meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """A provider that can't be asked now."""

    provider: Provider
    seconds: float
    is_quota: bool
    reason: str

    @property
    def is_long(self) -> bool:
        """Whether the others are asked meanwhile, and the job shows that it waits."""
        return self.is_quota or self.seconds > LONG_SECONDS


@dataclass(kw_only=True)
class Track:
    """One track on its way up the ladder."""

    id: str
    missing: set[str] = field(default_factory=lambda: set(FIELDS))
    reasons: dict[str, str] = field(default_factory=dict)  # provider -> why it gave nothing
    wait: Wait | None = None  # what it waits for

    @property
    def wants_more(self) -> bool:
        """Whether the next provider should be asked."""
        return bool(self.missing) and (self.wait is None or self.wait.is_long)

    def take(self, provider: Provider, values: Mapping[str, float | int]) -> None:
        """Take what a provider said."""
        if values:
            self.missing -= values.keys()
        else:
            self.reasons[provider.value] = "does not know the track"


class Asking:
    """Asks the services of this process."""

    def __init__(self, services: Mapping[Provider, FeatureService], db: Db, settings: Settings) -> None:
        """Prepare; nobody is asked."""
        self._services = services
        self._db = db
        self._settings = settings

    def ask(self, provider: Provider, tracks: Sequence[Track], *, since: datetime | None = None) -> None:
        """Have a provider say what it knows of those tracks that want more; what is known is not asked again.

        With `since`, what it said before that time does not count.
        """
        wanting = [track for track in tracks if track.wants_more]
        service = self._services.get(provider)
        if service is None:
            _note(wanting, provider, "is not set up")
            return
        _note([track for track in wanting if not service.takes(track.id)], provider, "has no such ids")
        possible = [track for track in wanting if service.takes(track.id)]
        known = provider_answers.find(self._db, [provider], [track.id for track in possible])
        known = {key: one for key, one in known.items() if since is None or one.fetched_at >= since}
        for track in possible:
            answer = known.get((provider, track.id))
            if answer is not None:
                track.take(provider, answer.values)
        self._ask_for(service, [track for track in possible if (provider, track.id) not in known])

    def _ask_for(self, service: FeatureService, tracks: Sequence[Track]) -> None:
        for start in range(0, len(tracks), service.batch_size):
            batch = tracks[start : start + service.batch_size]
            try:
                said = service.features([track.id for track in batch])
            except (BudgetSpent, Throttled) as error:
                note_wait(tracks[start:], service.provider, error, self._settings)
                return
            except (Transient, Malformed) as error:
                _note(batch, service.provider, error.message)
            except Refused as error:
                _note(tracks[start:], service.provider, error.message)
                return
            except ProviderError as error:
                _note(tracks[start:], service.provider, error.message)
                return
            else:
                self._keep(service.provider, batch, said)

    def _keep(self, provider: Provider, batch: Sequence[Track], said: Mapping[str, Mapping[str, float | int]]) -> None:
        answers = {track.id: said.get(track.id, {}) for track in batch}
        settings = self._settings
        provider_answers.save(
            self._db,
            provider,
            answers,
            known_for=timedelta(days=settings.answer_days),
            unknown_for=timedelta(days=settings.unknown_days),
        )
        for track in batch:
            track.take(provider, answers[track.id])


def note_wait(tracks: Sequence[Track], provider: Provider, error: BudgetSpent | Throttled, settings: Settings) -> None:
    """Let tracks wait for a provider, or do without one that would keep them waiting for too long."""
    if error.seconds > settings.provider_wait_days * 86_400:
        _note(tracks, provider, error.message)
        return
    wait = Wait(provider=provider, seconds=error.seconds, is_quota=error.is_quota, reason=error.message)
    for track in tracks:
        # Of two providers that keep it waiting, the one that answers last decides.
        if track.wait is None or track.wait.seconds < wait.seconds:
            track.wait = wait


def _note(tracks: Sequence[Track], provider: Provider, reason: str) -> None:
    for track in tracks:
        track.reasons[provider.value] = reason.removesuffix(".")
