"""The API on a database of this test alone."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from shared.model import Db
from shared.settings import Settings
from tests.api_server import Worker, serving


@pytest.fixture
def api(settings: Settings, db: Db) -> Iterator[httpx.Client]:
    """A client of the API, which runs under a real HTTP server."""
    with serving(settings) as client:
        yield client


@pytest.fixture
def worker(db: Db) -> Worker:
    """Hands that move jobs on."""
    return Worker(db)
