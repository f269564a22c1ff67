"""The API's connection to MongoDB, which refuses at once while the server is known to be down."""

from __future__ import annotations

import asyncio
import logging

from anyio import to_thread
from pymongo.errors import ConnectionFailure

from shared.errors import DatabaseTooNew, ServiceUnavailable
from shared.migrations import LATEST
from shared.model import Db
from shared.settings import Settings
from shared.store.database import StoreError, connect, ensure_indexes
from shared.store.defaults import ensure_defaults
from shared.store.migrations import check_version

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 4.0
PROBE_SECONDS = 0.5
"""How often a server that is down is asked whether it is back."""


class Connection:
    """Hands out the database, and keeps watch over it.

    An operation on a server that is down blocks its thread for seconds. After the first that failed so, the
    others are refused at once, until `keep`, which alone goes on asking, has had an answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._db = connect(settings, timeout_seconds=TIMEOUT_SECONDS, app_name="backline-api")
        self._failed = asyncio.Event()
        self._refusal: DatabaseTooNew | None = None

    @property
    def is_down(self) -> bool:
        """Whether the server did not answer when it was last asked."""
        return self._failed.is_set()

    @property
    def db(self) -> Db:
        """The database. Raises `ServiceUnavailable` while its server is down, `DatabaseTooNew`."""
        if self._refusal is not None:
            raise self._refusal
        if self.is_down:
            raise ServiceUnavailable("MongoDB does not answer.")
        return self._db

    @property
    def unchecked_db(self) -> Db:
        """The database, for those who ask whether its server is down."""
        return self._db

    def note(self, error: Exception) -> None:
        """Take in what an operation raised: a lost connection means that the server is down."""
        if isinstance(error, ConnectionFailure) and not self.is_down:
            logger.warning("MongoDB does not answer; requests are refused until it does: %s", _first_line(error))
            self._failed.set()

    async def keep(self) -> None:
        """Create the indexes and the defaults, and again whenever the server comes back; runs until it is cancelled."""
        while True:
            try:
                await to_thread.run_sync(self._prepare, abandon_on_cancel=True)
            except StoreError as error:
                if not self.is_down:
                    logger.warning("MongoDB is not ready: %s", _first_line(error))
                self._failed.set()
                await asyncio.sleep(PROBE_SECONDS)
                continue
            if self.is_down:
                logger.warning("MongoDB answers again")
            self._failed.clear()
            await self._failed.wait()

    def _prepare(self) -> None:
        """Create the indexes and the defaults, unless a later version has the database by now."""
        try:
            check_version(self._db, LATEST)
        except DatabaseTooNew as error:
            logger.error("%s %s", error.message, error.advice)
            self._refusal = error
        else:
            self._refusal = None
            ensure_indexes(self._db)
            ensure_defaults(self._db)

    def close(self) -> None:
        """Let go of the server."""
        self._db.client.close()


def _first_line(error: Exception) -> str:
    return str(error).partition(", Topology Description")[0].partition("\n")[0]
