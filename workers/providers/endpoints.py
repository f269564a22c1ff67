"""Which endpoints an account may use: learnt from the first answer, and remembered for a day."""

from __future__ import annotations

import time
from datetime import timedelta

from shared.model import Db
from shared.providers import Account
from shared.settings import Settings
from shared.store import provider_endpoints
from shared.store.provider_endpoints import Endpoint
from workers.providers.errors import EndpointClosed

SOON = timedelta(minutes=10)
"""For so long credentials that were not accepted are not tried again."""


class Endpoints:
    """What is known of one account's endpoints."""

    def __init__(self, db: Db, account: Account, settings: Settings) -> None:
        """Prepare; nothing is read."""
        self._db = db
        self._account = account
        self._kept = timedelta(hours=settings.endpoint_memory_hours)
        self._open: dict[str, float] = {}  # when this process wrote it (monotonic, s), so that it is written seldom

    def is_closed(self, endpoint: str) -> bool:
        """Whether the endpoint is known to be of no use."""
        known = self._known(endpoint)
        return known is not None and not known.is_open

    def check(self, endpoint: str) -> None:
        """Raise `EndpointClosed` where the endpoint is known to be closed for this account."""
        known = self._known(endpoint)
        if known is not None and not known.is_open:
            raise EndpointClosed(known.reason or "This app may not use it.", status=403)

    def _known(self, endpoint: str) -> Endpoint | None:
        known = provider_endpoints.find(self._db, f"{self._account.prefix}:{endpoint}")
        if known is None or not known.is_open:
            self._open.pop(endpoint, None)
        return known

    def open(self, endpoint: str) -> None:
        """Note that an endpoint has answered; it is written again before it would be forgotten."""
        written = self._open.get(endpoint)
        if written is None or time.monotonic() - written > self._kept.total_seconds() / 2:
            self._open[endpoint] = time.monotonic()
            self._learn(endpoint, is_open=True, reason=None, kept=self._kept)

    def close(self, endpoint: str, reason: str) -> None:
        """Note that this account may not use an endpoint."""
        self._learn(endpoint, is_open=False, reason=reason, kept=self._kept)

    def close_soon(self, endpoint: str, reason: str) -> None:
        """Note that an endpoint is of no use for the next minutes."""
        self._learn(endpoint, is_open=False, reason=reason, kept=SOON)

    def _learn(self, endpoint: str, *, is_open: bool, reason: str | None, kept: timedelta) -> None:
        account = self._account
        provider_endpoints.learn(
            self._db, account.prefix, account.provider.value, endpoint, is_open=is_open, reason=reason, kept=kept
        )
