"""Session-wide servers, and a fresh database for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from shared.clock import new_id
from shared.model import Db
from shared.settings import Settings, get_settings
from shared.store.database import connect, ensure_indexes
from tests.machine import Servers

# The test kinds are known in this process as in the workers that it starts.
os.environ["BACKLINE_JOB_MODULES"] = "tests.kinds"


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A real MongoDB-compatible server and a real Valkey, for this session."""
    both = Servers(tmp_path_factory.mktemp("servers"))
    both.start()
    yield both
    both.stop()


@pytest.fixture(scope="session")
def mongodb_uri(servers: Servers) -> str:
    return servers.mongodb_uri


@pytest.fixture(scope="session")
def redis_url(servers: Servers) -> str:
    return servers.redis_url


@pytest.fixture
def settings(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of this test alone: the session's servers, and a database of its own."""
    monkeypatch.setenv("MONGODB_URI", servers.mongodb_uri)
    monkeypatch.setenv("REDIS_URL", servers.redis_url)
    monkeypatch.setenv("BACKLINE_MONGODB_DATABASE", new_id("test"))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def db(settings: Settings) -> Iterator[Db]:
    """A fresh database with its indexes."""
    database = connect(settings)
    ensure_indexes(database)
    yield database
    database.client.drop_database(database.name)
    database.client.close()
