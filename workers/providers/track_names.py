"""What tracks are called and who made them, by whoever of the providers knows, each remembered for a day."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from shared.cache import Cache, CacheKind
from shared.model import Json
from shared.providers import Provider
from workers.providers.errors import EndpointClosed, NotNow, ProviderError
from workers.providers.flights import Flights, others_ask
from workers.providers.service import FeatureService, Metadata

logger = logging.getLogger(__name__)


class TrackNames:
    """Asks the services of this process what tracks are."""

    def __init__(self, services: Mapping[Provider, FeatureService], flights: Flights, cache: Cache) -> None:
        """Prepare; nobody is asked."""
        self._services = services
        self._flights = flights
        self._cache = cache
        self.spent: tuple[Provider, NotNow] | None = None  # who could not say it for now, for the shortest time
        self.is_whole = True  # or somebody who might have known more did not answer

    def find(self, ids: Sequence[str]) -> dict[str, Metadata]:
        """Return what the tracks are, as far as anybody says so now."""
        known: dict[str, Metadata] = {}
        for service in self._tellers():
            lacking = [one for one in ids if service.takes(one) and (one not in known or known[one].isrc is None)]
            known |= _read(self._of(service, list(dict.fromkeys(lacking))))
        return known

    def _tellers(self) -> Iterator[FeatureService]:
        # Spotify comes last: many an app may only read one track a call there.
        return (self._services[one] for one in (Provider.RECCOBEATS, Provider.SPOTIFY) if one in self._services)

    def _of(self, service: FeatureService, ids: Sequence[str]) -> dict[str, Json | None]:
        """Return what a service says of tracks: what is cached, what it says now, else what it said before."""
        keys = {one: _key(service.provider, one) for one in ids}
        looked = self._cache.find(CacheKind.METADATA, list(keys.values()))
        said = {one: looked.fresh[key] for one, key in keys.items() if key in looked.fresh}
        self._ask(service, [one for one in ids if one not in said], said)
        old = {one: looked.old[key] for one, key in keys.items() if one not in said and key in looked.old}
        self._cache.count_stale(CacheKind.METADATA, len(old))
        return {**old, **said}

    def _ask(self, service: FeatureService, ids: Sequence[str], said: dict[str, Json | None]) -> None:
        """Ask call by call, each answer kept at once, until it is over or the service can't be asked any more."""
        left = list(ids)
        while left:
            size = service.names_size
            some = left[:size]
            try:
                said.update(self._ask_once(service, some))
            except NotNow as error:
                self._note_spent(service, error)
                return
            except ProviderError as error:
                if isinstance(error, EndpointClosed) and service.names_size < size:
                    continue  # it was learnt that fewer are told at a time
                # What they are can't be known now; an id that is MusicBrainz' needs nobody.
                logger.info("%s does not say what %d tracks are: %s", service.provider.value, len(left), error)
                self.is_whole = False
                return
            left = left[len(some) :]

    def _note_spent(self, service: FeatureService, error: NotNow) -> None:
        self.is_whole = False
        if self.spent is None or error.seconds < self.spent[1].seconds:
            self.spent = (service.provider, error)

    def _ask_once(self, service: FeatureService, ids: Sequence[str]) -> dict[str, Json | None]:
        """Return what a service says in one call; about what others ask nobody asks twice. Raises `ProviderError`."""
        with self._flights.asking(f"{service.provider.value}:names", ids) as taken:
            if len(taken) < len(ids):
                self._note_spent(service, others_ask())
            keys = {one: _key(service.provider, one) for one in ids if one in taken}
            # Somebody may have been answered between our look and our turn.
            fresh = self._cache.find(CacheKind.METADATA, list(keys.values()), is_counted=False).fresh
            said = {one: fresh[key] for one, key in keys.items() if key in fresh}
            left = [one for one in keys if one not in said]
            return said | (self.fetch(service.provider, left) if left else {})

    def fetch(self, provider: Provider, ids: Sequence[str]) -> dict[str, Json | None]:
        """Ask in one call what some tracks are, and keep it; None of those that it does not know.

        Raises `ProviderError`.
        """
        service = self._services.get(provider)
        if service is None:
            raise ProviderError(f"{provider.value} is not set up.")
        generation = self._cache.generation()
        found = service.names(ids)
        said = {one: asdict(found[one]) if one in found else None for one in ids}
        recipe = {"what": "names", "provider": provider.value, "ids": list(ids)}
        for one, value in said.items():
            key, tags = _key(provider, one), [f"track:{one}"]
            self._cache.put(CacheKind.METADATA, key, value, tags=tags, recipe=recipe, generation=generation)
        return said


def _key(provider: Provider, track_id: str) -> str:
    return f"{provider.value}:{track_id}"


def keys_of(recipe: Json) -> Iterable[str]:
    """Return the keys of all answers that come with one call."""
    return (f"{CacheKind.METADATA.value}:{_key(Provider(recipe['provider']), one)}" for one in recipe["ids"])


def _read(said: Mapping[str, Json | None]) -> dict[str, Metadata]:
    return {
        one: Metadata(**{**found, "artists": tuple(found["artists"])})
        for one, found in said.items()
        if found is not None
    }
