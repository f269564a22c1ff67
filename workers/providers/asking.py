"""Asking one provider after the other for what is still missing, and keeping what they say for whoever asks next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.model import Db
from shared.providers import FIELDS, Provider
from shared.settings import Settings
from shared.store import provider_answers
from workers.providers.errors import (
    BadCredentials,
    EndpointClosed,
    Malformed,
    NotNow,
    ProviderError,
    Refused,
    Transient,
)
from workers.providers.flights import Flights, others_ask
from workers.providers.parking import is_long, is_worth_waiting
from workers.providers.service import FeatureService


@dataclass(kw_only=True)
class Track:
    """One track on its way up the ladder."""

    id: str
    missing: set[str] = field(default_factory=lambda: set(FIELDS))
    reasons: dict[str, str] = field(default_factory=dict)  # provider -> why it gave nothing
    waits: list[NotNow] = field(default_factory=list)  # for whom it waits

    @property
    def wants_more(self) -> bool:
        """Whether the next provider should be asked."""
        return bool(self.missing) and all(map(is_long, self.waits))

    def take(self, provider: Provider, values: Mapping[str, float | int]) -> None:
        """Take what a provider said."""
        if values:
            self.missing -= values.keys()
        else:
            self.reasons[provider.value] = "does not know the track"


class Asking:
    """Asks the services of this process."""

    def __init__(
        self, services: Mapping[Provider, FeatureService], flights: Flights, db: Db, settings: Settings
    ) -> None:
        """Prepare; nobody is asked."""
        self._services = services
        self._flights = flights
        self._db = db
        self._settings = settings

    def ask(self, provider: Provider, tracks: Sequence[Track], *, since: datetime | None = None) -> None:
        """Have a provider say what it knows of those tracks that want more; what is known is not asked again.

        With `since`, what it said before that time does not count.
        """
        wanting = [track for track in tracks if track.wants_more]
        service = self._services.get(provider)
        if service is None:
            note(wanting, provider, "is not set up")
            return
        note([track for track in wanting if not service.takes(track.id)], provider, "has no such ids")
        possible = [track for track in wanting if service.takes(track.id)]
        unknown = self._take_known(provider, possible, since)
        for start in range(0, len(unknown), service.batch_size):
            try:
                self._ask_once(service, unknown[start : start + service.batch_size], since)
            except NotNow as error:
                note_wait(unknown[start:], provider, error, self._settings)
                return
            except ProviderError as error:
                is_of_the_batch = isinstance(error, Transient | Malformed | Refused)
                goes_on = is_of_the_batch and not isinstance(error, EndpointClosed | BadCredentials)
                end = start + service.batch_size if goes_on else None
                note(unknown[start:end], provider, error.message)
                if not goes_on:
                    return

    def _take_known(self, provider: Provider, tracks: Sequence[Track], since: datetime | None) -> list[Track]:
        """Let tracks take what the provider said before; return the others."""
        known = provider_answers.find(self._db, [provider], [track.id for track in tracks]) if tracks else {}
        known = {key: one for key, one in known.items() if since is None or one.fetched_at >= since}
        for track in tracks:
            if (answer := known.get((provider, track.id))) is not None:
                track.take(provider, answer.values)
        return [track for track in tracks if (provider, track.id) not in known]

    def _ask_once(self, service: FeatureService, tracks: Sequence[Track], since: datetime | None) -> None:
        """Ask about some tracks in one call, but for those of which somebody else asks. Raises `ProviderError`."""
        with self._flights.asking(f"{service.provider.value}:features", [track.id for track in tracks]) as mine:
            others = [track for track in tracks if track.id not in mine]
            note_wait(others, service.provider, others_ask(), self._settings)
            # Somebody may have been answered between our look and our turn.
            left = self._take_known(service.provider, [track for track in tracks if track.id in mine], since)
            if left:
                self._keep(service.provider, left, service.features([track.id for track in left]))

    def _keep(self, provider: Provider, tracks: Sequence[Track], said: Mapping[str, Mapping[str, float | int]]) -> None:
        answers = {track.id: said.get(track.id, {}) for track in tracks}
        settings = self._settings
        provider_answers.save(
            self._db,
            provider,
            answers,
            known_for=timedelta(days=settings.answer_days),
            unknown_for=timedelta(days=settings.unknown_days),
        )
        for track in tracks:
            track.take(provider, answers[track.id])


def note_wait(tracks: Sequence[Track], provider: Provider, error: NotNow, settings: Settings) -> None:
    """Let tracks wait for a provider, or do without one that would keep them waiting for too long."""
    if not is_worth_waiting(error, settings):
        note(tracks, provider, error.message)
        return
    for track in tracks:
        track.waits.append(error)


def note(tracks: Sequence[Track], provider: Provider, reason: str) -> None:
    """Keep why a provider gave nothing of some tracks."""
    for track in tracks:
        track.reasons[provider.value] = reason.removesuffix(".")
