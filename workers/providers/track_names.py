"""What tracks are called and who made them, by whoever of the providers knows, remembered for a day."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from shared.batches import in_batches
from shared.cache import Cache, CacheKind
from shared.model import Json
from shared.providers import Provider
from workers.providers.errors import BudgetSpent, ProviderError, Throttled
from workers.providers.service import FeatureService, Metadata

logger = logging.getLogger(__name__)


class TrackNames:
    """Asks the services of this process what tracks are."""

    def __init__(self, services: Mapping[Provider, FeatureService], cache: Cache) -> None:
        """Prepare; nobody is asked."""
        self._services = services
        self._cache = cache
        self.spent: tuple[Provider, BudgetSpent | Throttled] | None = None  # who could not say it for now

    def find(self, ids: Sequence[str]) -> dict[str, Metadata]:
        """Return what the tracks are, as far as anybody says so now."""
        known: dict[str, Metadata] = {}
        for service in self._tellers():
            lacking = [one for one in ids if service.takes(one) and (one not in known or known[one].isrc is None)]
            for batch in in_batches(lacking, service.batch_size):
                known |= self._of_batch(service, batch)
        return known

    def _tellers(self) -> Iterator[FeatureService]:
        # Spotify comes last: many an app may only read one track a call there.
        return (self._services[one] for one in (Provider.RECCOBEATS, Provider.SPOTIFY) if one in self._services)

    def _of_batch(self, service: FeatureService, ids: Sequence[str]) -> dict[str, Metadata]:
        try:
            said = self._cache.get(
                CacheKind.METADATA,
                _key(service, ids),
                lambda: _asked(service, ids),
                errors=ProviderError,
                tags=_tags(ids),
                recipe=_recipe(service, ids),
            )
        except (BudgetSpent, Throttled) as error:
            self.spent = (service.provider, error)
            return {}
        except ProviderError as error:  # what it is can't be known now; an id that is MusicBrainz' needs nobody
            logger.info("%s does not say what %d tracks are: %s", service.provider.value, len(ids), error)
            return {}
        return {one: Metadata(**{**found, "artists": tuple(found["artists"])}) for one, found in said.value.items()}

    def warm(self, provider: Provider, ids: Sequence[str]) -> None:
        """Fetch anew what some tracks are. Raises `ProviderError`."""
        service = self._services[provider]
        said = _asked(service, ids)
        recipe = _recipe(service, ids)
        self._cache.put(CacheKind.METADATA, _key(service, ids), said, tags=_tags(ids), recipe=recipe)


def _key(service: FeatureService, ids: Sequence[str]) -> str:
    return f"{service.provider.value}:{hashlib.sha256(','.join(ids).encode()).hexdigest()[:32]}"


def _tags(ids: Sequence[str]) -> list[str]:
    return [f"track:{one}" for one in ids]


def _recipe(service: FeatureService, ids: Sequence[str]) -> Json:
    return {"what": "names", "provider": service.provider.value, "ids": list(ids)}


def _asked(service: FeatureService, ids: Sequence[str]) -> Json:
    return {one: asdict(found) for one, found in service.metadata(ids).items()}
