"""The worker's image under pytest-celery: it starts as it is shipped and brings a job to its end by doorbells alone.

Needs a container engine and the image; ``make acceptance-compose`` builds it and runs this afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_celery import (
    CeleryBrokerCluster,
    CeleryTestSetup,
    CeleryWorkerContainer,
    RedisContainer,
    RedisTestBroker,
)
from pytest_docker_tools import container, fxtr, wrappers

from shared import broker, lifecycle
from shared.jobs import get_kind
from shared.model import Db
from shared.store import jobs, slots
from shared.store.database import connect, ensure_indexes
from tests.compose.engine import missing
from tests.environment import environment_of
from tests.waiting import wait_until

IMAGE = "BACKLINE_WORKER_IMAGE"
"""The variable that names the image, where it is not that of the compose file."""
READ_ONLY: dict[str, Any] = {"read_only": True, "tmpfs": {"/tmp": "size=512m,mode=1777"}, "cap_drop": ["ALL"]}
"""How compose and Kubernetes run it, too."""


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """Skip where no engine answers, or where it does not have the image."""
    reason = missing(image=image_name())
    if reason is not None:
        pytest.skip(reason)


def image_name() -> str:
    return os.environ.get(IMAGE, "backline-worker:latest")


@pytest.fixture
def default_redis_broker_image() -> str:
    """The broker of the compose file."""
    return "valkey/valkey:8.1-alpine"


@pytest.fixture
def default_redis_broker_command(default_redis_broker_cls: type[RedisContainer]) -> list[str]:
    """The same as ever, under the name that the server has there."""
    return ["valkey-server", *default_redis_broker_cls.command()[1:]]


@pytest.fixture
def worker_image(engine: None) -> str:
    return image_name()


class ShippedWorker(CeleryWorkerContainer):  # type: ignore[misc]  # it ships no types
    """The worker as it is shipped, but on every queue; whether it is ready is asked of MongoDB."""

    @classmethod
    def command(cls, *args: str, **_: Any) -> list[str]:
        """Return what compose runs it with."""
        queues = ",".join(queue.value for queue in broker.Queue)
        started = ["celery", "-q", "-A", "workers.app", "worker", "-Q", queues, "-c", "2", "-n", "smoke@%h"]
        return [*started, "-E", "--without-gossip", "--without-mingle", *args]

    @property
    def ready_prompt(self) -> None:
        """Nothing: Celery's own lines are not in the log."""


mongo = container(
    image="mongo:8.0",
    ports={"27017/tcp": None},
    network="{default_pytest_celery_network.name}",
    timeout=60,
)
default_worker_container = container(
    image="{worker_image}",
    environment=fxtr("default_worker_env"),
    network="{default_pytest_celery_network.name}",
    wrapper_class=ShippedWorker,
    timeout=60,
    command=fxtr("default_worker_command"),
    **READ_ONLY,
)


@pytest.fixture
def default_worker_container_cls() -> type[CeleryWorkerContainer]:
    return ShippedWorker


@pytest.fixture
def default_worker_env(celery_worker_cluster_config: dict[str, Any], mongo: wrappers.Container) -> dict[str, str]:
    """What the image is told where it runs."""
    (redis_url,) = celery_worker_cluster_config["celery_broker_cluster_config"]["urls"]
    return {"REDIS_URL": redis_url, "MONGODB_URI": f"mongodb://{mongo.name}:27017/?directConnection=true"}


@pytest.fixture
def celery_broker_cluster(celery_redis_broker: RedisTestBroker) -> Iterator[CeleryBrokerCluster]:
    """One broker, and no other sort of it."""
    cluster = CeleryBrokerCluster(celery_redis_broker)
    yield cluster
    cluster.teardown()


@pytest.fixture
def celery_backend_cluster() -> None:
    """No results: they are in MongoDB."""


@pytest.fixture
def db(celery_setup: CeleryTestSetup, mongo: wrappers.Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[Db]:
    """The database and the broker of the containers, as this machine reaches them."""
    assert celery_setup.broker is not None
    # Not the broker's own `host_url`, which is wrong where the tests themselves run in a container.
    redis_host, redis_port = celery_setup.broker.container.get_addr("6379/tcp")
    host, port = mongo.get_addr("27017/tcp")
    variables = {
        "MONGODB_URI": f"mongodb://{host}:{port}/?directConnection=true",
        "REDIS_URL": f"redis://{redis_host}:{redis_port}/0",
    }
    with environment_of(monkeypatch, variables) as settings:
        database = connect(settings)
        with database.client:
            ensure_indexes(database)
            yield database


@pytest.mark.timeout(300)
def test_the_worker_of_the_image_brings_a_job_to_its_end(celery_setup: CeleryTestSetup, db: Db) -> None:
    wait_until(lambda: slots.find_alive(db), seconds=120, what="a sign of life of the worker")
    kind = get_kind("database_validate")
    job, _ = lifecycle.submit(db, kind, lifecycle.validate_request(kind, {}))
    broker.ring_plan([job.id])

    wait_until(lambda: jobs.get(db, job.id).status.is_final, seconds=120, what="the job's end")

    assert jobs.get(db, job.id).status.value == "succeeded"
    assert celery_setup.worker is not None
    code, _output = celery_setup.worker.container.exec_run(["python", "-m", "deploy.probe", "worker"])
    assert code == 0
    code, output = celery_setup.worker.container.exec_run(["id", "-u"])
    assert (code, output.strip()) == (0, b"10001")
