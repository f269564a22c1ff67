"""One machine's worth of real processes for the tests: servers, workers, beats; each can be killed and started."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymongo
import redis

from deploy.servers import MONGO_CACHE, MONGO_ENVIRONMENT, find_secantusd, find_valkey
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Have the kernel end this process when the test process is gone, however that ended."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Part:
    """A process that the tests start, and end by its own pid."""

    def __init__(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str], *, root: Path = ROOT
    ) -> None:
        self.name = name
        self.root = root
        self.command = list(command)
        self.log = folder / f"{name}.log"
        self.environment = {**os.environ, **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process unless it runs."""
        if self.is_alive:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def children(self) -> list[int]:
        """Return the pids of the process's children, oldest first."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def kill(self) -> None:
        """End the process at once, as the kernel or a power cut would."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGKILL)
            assert self.process is not None
            self.process.wait(10)

    def terminate(self, *, seconds: float = 40.0) -> int:
        """Ask the process to end, as a deployment does, and return its exit code."""
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Servers:
    """A real MongoDB-compatible server and a real Valkey on loopback ports of their own."""

    def __init__(self, folder: Path) -> None:
        binary, _ = find_secantusd()
        mongo_port, valkey_port = free_port(), free_port()
        self.mongodb_uri = f"mongodb://127.0.0.1:{mongo_port}/?directConnection=true&serverSelectionTimeoutMS=5000"
        self.redis_url = f"redis://127.0.0.1:{valkey_port}/0"
        (folder / "mongo.toml").touch()
        (folder / "valkey").mkdir()
        mongo = [str(binary), "--config", str(folder / "mongo.toml"), "--host", "127.0.0.1", "--port", str(mongo_port)]
        mongo += ["--storage-path", str(folder / "mongo"), "--cache-size", MONGO_CACHE, "--log-file-max", "128MB"]
        mongo += ["--sync-on-commit", "--standalone", "--log-level", "WARNING"]
        valkey = [str(find_valkey()), "--port", str(valkey_port), "--bind", "127.0.0.1"]
        valkey += ["--dir", str(folder / "valkey"), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]
        valkey += ["--hz", "2"]
        self.mongo = Part("mongo", mongo, folder, MONGO_ENVIRONMENT)
        self.valkey = Part("valkey", valkey, folder, {})

    def start(self) -> None:
        """Start both and wait until they answer."""
        self.mongo.start()
        self.valkey.start()
        wait_until(self._answer, what="the servers' answer")

    def _answer(self) -> bool:
        try:
            with pymongo.MongoClient[dict[str, Any]](self.mongodb_uri, serverSelectionTimeoutMS=500) as client:
                client.admin.command("ping")
            with redis.Redis.from_url(self.redis_url, socket_timeout=1.0) as valkey:
                return bool(valkey.ping())
        except (pymongo.errors.PyMongoError, redis.RedisError):
            return False

    def stop(self) -> None:
        """End both."""
        for part in (self.valkey, self.mongo):
            if part.is_alive:
                part.terminate()


def celery(*arguments: str) -> list[str]:
    """Return the command line of a Celery process of ours."""
    return [sys.executable, "-m", "celery", "-A", "workers.app", *arguments]


class Machine:
    """Servers, a heavy worker with two processes, a control worker, and two beats."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, processes: int = 2) -> None:
        self.servers = Servers(folder)
        self.settings = {
            "REDIS_URL": self.servers.redis_url,
            "MONGODB_URI": self.servers.mongodb_uri,
            "BACKLINE_DATA_DIR": str(folder / "data"),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        options = ["--without-gossip", "--without-mingle", "-E", "-l", "INFO"]
        heavy = ["worker", "-Q", "cpu,io,index,bulk", "-c", str(processes), "-n", f"heavy@{os.getpid()}", *options]
        control = ["worker", "-Q", "control", "-c", "1", "-n", f"control@{os.getpid()}", *options]
        self.heavy = Part("heavy", celery(*heavy), folder, self.settings)
        self.control = Part("control", celery(*control), folder, self.settings)
        self.beats = [Part(f"beat{n}", celery("beat", "-l", "INFO"), folder, self.settings) for n in (1, 2)]

    @property
    def workers(self) -> list[Part]:
        return [self.heavy, self.control, *self.beats]

    def heal(self) -> None:
        """Start whatever does not run."""
        self.servers.start()
        for part in self.workers:
            part.start()

    def stop(self) -> None:
        """End everything, workers first."""
        for part in self.workers:
            part.kill()
        self.servers.stop()
