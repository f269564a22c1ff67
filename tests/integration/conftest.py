"""The API on a database of this test alone, and a whole stack that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from deploy.stack import RunningStack, Stack, StackOptions
from shared.model import Db
from shared.settings import Settings
from tests.api_server import Worker, bearer, serving
from tests.environment import variables_set
from tests.fake_providers import FakeProviders, fake_providers
from tests.integration.engine import Engine
from tests.provider_stage import meeting
from tests.search_stage import serving_search
from tests.shell import Shell


@pytest.fixture
def api(settings: Settings, db: Db) -> Iterator[httpx.Client]:
    """A client of the API, which runs under a real HTTP server."""
    with serving(settings) as client:
        yield client


@pytest.fixture
def fake() -> Iterator[FakeProviders]:
    """Spotify and ReccoBeats, as long as the test lasts."""
    with fake_providers() as both:
        yield both


@pytest.fixture
def chosen(settings: Settings, fake: FakeProviders, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings of somebody who meets the fakes."""
    with meeting(settings, fake, monkeypatch) as known:
        yield known


@pytest.fixture
def working(engine: Engine) -> Iterator[None]:
    """Somebody who does every job that is submitted, on the engine of the test."""
    ended = Event()

    def work() -> None:
        while not ended.wait(0.02):
            for job in engine.db["jobs"].find({"status": {"$in": ["queued", "running"]}}):
                engine.drive(job["_id"])

    thread = Thread(target=work)
    thread.start()
    yield
    ended.set()
    thread.join()


@pytest.fixture
def searching(settings: Settings, db: Db, tmp_path: Path) -> Iterator[Settings]:
    """Settings with which an API finds a search server."""
    own = Settings.model_validate({**settings.model_dump(), "index_dir": tmp_path})
    with serving_search(own) as told:
        yield told


@pytest.fixture
def worker(db: Db) -> Worker:
    """Hands that move jobs on."""
    return Worker(db)


@pytest.fixture(scope="session")
def music_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the shared stack may read."""
    return tmp_path_factory.mktemp("music")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, music_root: Path) -> Iterator[RunningStack]:
    """A stack that knows the kinds of the tests, for all tests that need one and leave it whole."""
    whole = Stack(
        StackOptions(
            data_dir=tmp_path_factory.mktemp("stack"),
            music_roots=(music_root,),
            workers=2,
            quiet=True,
            environment={"BACKLINE_JOB_MODULES": "tests.kinds"},
        )
    )
    running = whole.start()
    try:
        yield running
    finally:
        whole.stop()


@pytest.fixture(scope="session")
def http(stack: RunningStack) -> Iterator[httpx.Client]:
    """A client of the shared stack's API."""
    with httpx.Client(base_url=stack.url, headers=bearer(stack.key), trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def nowhere(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shell]:
    """A shell on a data folder where nothing runs."""
    variables = {"BACKLINE_DATA_DIR": str(tmp_path / "nothing"), "BACKLINE_URL": None}
    with variables_set(monkeypatch, variables):
        yield Shell(capsys)


@pytest.fixture
def shell(stack: RunningStack, nowhere: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell on the data folder of the stack."""
    with variables_set(monkeypatch, {"BACKLINE_DATA_DIR": str(stack.data_dir)}):
        yield nowhere
