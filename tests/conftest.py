"""Session-wide servers, and a fresh database for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from shared.clock import new_id
from shared.model import Db
from shared.settings import Settings
from shared.store.database import connect, ensure_indexes
from tests.environment import environment_of
from tests.machine import Servers

# The test kinds are known in this process as in the workers that it starts.
os.environ["BACKLINE_JOB_MODULES"] = "tests.kinds"


SHARE_THE_STACK = (
    "test_cli.py",
    "test_cli_catalogue.py",
    "test_cli_database_export.py",
    "test_cli_extract.py",
    "test_cli_keys.py",
    "test_dashboards.py",
    "test_doctor.py",
    "test_database_doors.py",
    "test_flower.py",
    "test_mcp_door.py",
    "test_mcp_http.py",
    "test_mcp_stdio.py",
    "test_mcp_tasks.py",
    "test_metrics.py",
    "test_stack_logs.py",
    "test_search_doors.py",
)


class ByMachine(LoadScopeScheduling):  # type: ignore[misc]
    """Keep tests that share a machine, a stack or a file in one test process, so that things are started once.

    `xdist_group` would say so test by test, but xdist 3.8 overlooks it under pytest 9.2 (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        if file.parent.name == "acceptance":
            return "acceptance"
        return "stack" if file.name in SHARE_THE_STACK else str(file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByMachine | None:
    """Share the tests out under ``-n 2 --dist loadgroup``."""
    return ByMachine(config, log) if config.getoption("dist") == "loadgroup" else None


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
def settings(servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    """Settings of this test alone: the session's servers, and a database and a data folder of its own."""
    variables = {
        "MONGODB_URI": servers.mongodb_uri,
        "REDIS_URL": servers.redis_url,
        "BACKLINE_MONGODB_DATABASE": new_id("test"),
        "BACKLINE_DATA_DIR": str(tmp_path / "data"),
    }
    with environment_of(monkeypatch, variables) as own:
        yield own


@pytest.fixture
def db(settings: Settings) -> Iterator[Db]:
    """A fresh database with its indexes."""
    database = connect(settings)
    with database.client:
        ensure_indexes(database)
        yield database
        database.client.drop_database(database.name)
