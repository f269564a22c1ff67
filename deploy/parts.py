"""The parts of the stack on one machine, as data: what is run, and in which turn it stops."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from deploy.ports import LOOPBACK
from shared.broker import Queue
from shared.keys import read_key_file

WORKER_SECONDS = 33.0
"""How long a worker may take to stop: it ends the items in work and gives the rest of its chunks back."""

EVERY_ADDRESS = ("0.0.0.0", "::")
"""What a server is told that should listen everywhere."""

FLOWER_USER = "backline"
"""The name beside which Flower takes the stack's key as the password."""

FLOWER_SECONDS = 10
"""Between two signs of life of a worker in Flower, which takes it for dead after twice as long."""

METRICS = "metrics"
"""The folder, in the data folder, into which this stack's workers count, for its API to show."""

SITE_FOLDERS = ("site-packages", "dist-packages")


class Turn(IntEnum):
    """In which order parts stop: whoever brings work first, then who does it, then who keeps it."""

    FRONT = 0
    WORKERS = 1
    SERVERS = 2


@dataclass(frozen=True, kw_only=True)
class Part:
    """One process to be kept running."""

    name: str
    command: tuple[str, ...]
    turn: Turn = Turn.FRONT
    patience_seconds: float = 10.0
    """How long it may take to end by itself after SIGTERM."""
    busy_seconds: float = 0.0
    """How long it may take in all, as long as it is seen to compute or to write meanwhile."""
    is_awaited: bool = True
    """Whether the stack needs it to be ready; the others start only then, so that the first result comes sooner."""
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = field(default=b"", repr=False)
    """What it reads at its start; the place for secrets, which a command line would show to everybody."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the parts of one stack find each other, and what they may read."""

    redis_url: str
    mongodb_uri: str
    port: int
    flower_port: int
    data_dir: Path
    key_file: Path
    music_roots: tuple[Path, ...]
    workers: int
    host: str = LOOPBACK
    search_url: str | None = None
    """A search server to use in place of one of this stack's own."""
    search_servers: int = 1
    search_port: int = 0
    search_token: str = field(default="", repr=False)

    @property
    def near_host(self) -> str:
        """The address under which this machine itself reaches the front door."""
        return LOOPBACK if self.host in EVERY_ADDRESS else self.host

    @property
    def url(self) -> str:
        """The front door."""
        host = f"[{self.near_host}]" if ":" in self.near_host else self.near_host
        return f"http://{host}:{self.port}"

    @property
    def flower_url(self) -> str:
        """The page that shows workers and tasks."""
        return f"http://{LOOPBACK}:{self.flower_port}"


PartsOf = Callable[[Addresses], Sequence[Part]]
"""What lists the parts of a stack, given its addresses."""


def common_environment(addresses: Addresses) -> dict[str, str]:
    """Return what every part is told, on top of the launcher's own environment."""
    return {
        "REDIS_URL": addresses.redis_url,
        "MONGODB_URI": addresses.mongodb_uri,
        "BACKLINE_DATA_DIR": str(addresses.data_dir),
        "BACKLINE_MUSIC_ROOTS": os.pathsep.join(map(str, addresses.music_roots)),
        "BACKLINE_API_PORT": str(addresses.port),
        "BACKLINE_METRICS_DIR": str(addresses.data_dir / METRICS),
        "PYTHONPATH": os.pathsep.join(python_path()),
        "PYTHONUNBUFFERED": "1",
        "BACKLINE_LOG_FORMAT": "text",  # the stack's log is for people
        # One process a core is the parallelism; threads inside each would only fight over the cores.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def python_path() -> list[str]:
    """Return where children look for modules first: a checkout, from any folder; an installed package needs none."""
    root = Path(__file__).resolve().parent.parent
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return inherited if root.name in SITE_FOLDERS else [str(root), *inherited]


def backline_parts(addresses: Addresses) -> tuple[Part, ...]:
    """Return Backline's own parts: two workers, beat, the search servers, the API and Flower."""
    heavy = ",".join(queue.value for queue in (Queue.CPU, Queue.IO, Queue.INDEX, Queue.BULK))
    return (
        _worker(addresses, "heavy", heavy, addresses.workers),
        _worker(addresses, "control", Queue.CONTROL.value, 2),
        Part(name="beat", command=_celery("beat", "-l", "INFO"), is_awaited=False),
        *_search(addresses),
        _api(addresses),
        _flower(addresses),
    )


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *arguments)


def _celery(*arguments: str) -> tuple[str, ...]:
    return _python("celery", "-q", "-A", "workers.app", *arguments)  # quiet: no banner


def _worker(addresses: Addresses, name: str, queues: str, processes: int) -> Part:
    # The port is in the node's name, so that several stacks on one machine stay apart.
    node = f"{name}-{addresses.port}@%h"
    return Part(
        name=name,
        command=_celery(
            *("worker", "-Q", queues, "-c", str(processes), "-n", node),
            *("-E", "--without-gossip", "--without-mingle", "-l", "INFO"),
            *("--heartbeat-interval", str(FLOWER_SECONDS)),
        ),
        turn=Turn.WORKERS,
        patience_seconds=WORKER_SECONDS,
        environment={"C_FORCE_ROOT": "1"},
    )


def _api(addresses: Addresses) -> Part:
    command = _python(
        *("api.server", "--host", addresses.host, "--port", str(addresses.port)),
    )
    told = {
        "BACKLINE_API_HOST": addresses.host,
        "BACKLINE_API_KEY_FILE": str(addresses.key_file),
        "BACKLINE_API_KEY_IS_LOCAL": "true",
    }
    return Part(name="api", command=command, environment={**told, **_search_environment(addresses)})


def _search(addresses: Addresses) -> tuple[Part, ...]:
    if addresses.search_url is not None:
        return ()
    command = _python("workers.search", "--host", LOOPBACK, "--port", str(addresses.search_port))
    told = _search_environment(addresses)
    if addresses.search_servers == 1:
        return (Part(name="search", command=command, environment=told),)
    numbers = map(str, range(1, addresses.search_servers + 1))
    return tuple(Part(name=f"search-{one}", command=(*command, "--number", one), environment=told) for one in numbers)


def _search_environment(addresses: Addresses) -> dict[str, str]:
    """Return what API and search server know each other by; another's search server is named by the environment."""
    if addresses.search_url is not None:
        return {}
    return {
        "BACKLINE_SEARCH_URL": f"http://{LOOPBACK}:{addresses.search_port}",
        "BACKLINE_SEARCH_TOKEN": addresses.search_token,
    }


def _flower(addresses: Addresses) -> Part:
    # Whoever reaches it can stop workers, and any page in a browser on this machine can send it a form.
    command = _celery("flower", f"--address={LOOPBACK}", f"--port={addresses.flower_port}", "--persistent=False")
    told = {"FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{read_key_file(addresses.key_file).text}"}
    return Part(name="flower", command=command, is_awaited=False, environment=told)
