"""Session-wide servers, and a fresh database for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.clock import new_id
from shared.model import Db
from shared.settings import Settings
from shared.store.database import connect, ensure_indexes
from tests.environment import environment_of
from tests.machine import Servers

TESTS = Path(__file__).parent

# The test kinds are known in this process as in the workers that it starts.
os.environ["BACKLINE_JOB_MODULES"] = "tests.kinds"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share a machine or a stack in one test process, so that it is started once."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder == "acceptance":
            item.add_marker(pytest.mark.xdist_group("acceptance"))
        elif folder == "integration":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


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
    variables = {
        "MONGODB_URI": servers.mongodb_uri,
        "REDIS_URL": servers.redis_url,
        "BACKLINE_MONGODB_DATABASE": new_id("test"),
    }
    with environment_of(monkeypatch, variables) as own:
        yield own


@pytest.fixture
def db(settings: Settings) -> Iterator[Db]:
    """A fresh database with its indexes."""
    database = connect(settings)
    ensure_indexes(database)
    yield database
    database.client.drop_database(database.name)
    database.client.close()
