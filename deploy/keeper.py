"""The thread that owns all processes of a stack, from the lock on the data folder to the last goodbye."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import tempfile
import time
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

from rich.console import Console

from deploy import ports
from deploy.data_folder import DataFolder
from deploy.errors import LauncherError, StartTimedOut
from deploy.guardian import Guardian
from deploy.leftovers import Noted, ProcessRecord, end_leftovers
from deploy.log import LAUNCHER, StackLog
from deploy.options import StackOptions
from deploy.parts import METRICS, Addresses, common_environment
from deploy.processes import STACK_MARK, ProcessIdentity
from deploy.running import RunningStack
from deploy.servers import MongoServer, Server, ValkeyServer, trouble_with_mongodb, trouble_with_redis
from deploy.supervision import CALM_POLL_SECONDS, POLL_SECONDS, Household
from shared.clock import now
from shared.errors import BacklineError
from shared.exposition import empty
from shared.keys import TOKEN_KEY_FILE, ensure_key_file

PROBE_SECONDS = 5.0
LEFTOVER_PATIENCE_SECONDS = 5.0


class Keeper(Thread):
    """One stack's life: lock, clean up, start, watch, stop."""

    def __init__(self, options: StackOptions, *, console: Console | None) -> None:
        """Prepare; `start` begins."""
        super().__init__(name="stack-keeper", daemon=True)
        self.options, self._console = options, console
        self.ready, self.finished = Event(), Event()
        self.stopping, self.hurry = Event(), Event()
        self.running: RunningStack | None = None
        self.failure: BacklineError | None = None
        self.phase = "preparing"
        self.warnings: SimpleQueue[str] = SimpleQueue()  # for whoever waits, where the log is not on the terminal
        self._troubles: list[str] = []
        self._stack_id = secrets.token_hex(16)

    def run(self) -> None:
        """Live the stack's life; what ended it early is left in `failure`."""
        try:
            with ExitStack() as cleanup:
                self._live(cleanup)
        except BacklineError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001, the thread's boundary; whoever started it raises this
            self.failure = LauncherError(f"The launcher failed: {type(error).__name__}: {error}.")
            self.failure.__cause__ = error
        finally:
            self.finished.set()
            self.ready.set()

    def _live(self, cleanup: ExitStack) -> None:
        folder = self._take_folder(cleanup)
        log = StackLog(folder.log_file, console=self._console)
        cleanup.callback(log.close)
        try:
            self._end_old_stack(folder, log)
            servers, addresses = self._choose(folder)
            self._check_given_servers(log)
            environment = self._environment(addresses)
            household = Household(
                servers=servers,
                parts=self.options.parts(addresses),
                environment={**environment, STACK_MARK: self._stack_id},
                log=log,
                limits=self.options.limits,
            )
            self._note_processes(folder, household)
            guardian = Guardian(
                folder,
                self._stack_id,
                environment=environment,
                remove_folder=self.options.data_dir is None,
            )
            cleanup.callback(guardian.dismiss)
            cleanup.callback(self._stop, folder, household, log)
            self._watch(folder, household, addresses, log)
        except BacklineError as error:
            log.write(LAUNCHER, error.message)
            raise
        except Exception:
            for line in traceback.format_exc().splitlines():
                log.write(LAUNCHER, line)
            raise

    def _take_folder(self, cleanup: ExitStack) -> DataFolder:
        if self.options.data_dir is None:
            path = Path(tempfile.mkdtemp(prefix="backline-"))
            cleanup.callback(shutil.rmtree, path, ignore_errors=True)
        else:
            path = self.options.data_dir
        folder = DataFolder(path).lock()
        cleanup.callback(folder.unlock)
        return folder

    def _end_old_stack(self, folder: DataFolder, log: StackLog) -> None:
        # We hold the lock, so whatever is noted here belongs to a launcher that was killed.
        folder.stack_file.unlink(missing_ok=True)
        record = ProcessRecord.read(folder.processes_file)
        if record is None:
            return
        self.phase = "stopping what an earlier launcher left running"
        ended = end_leftovers(record, patience_seconds=LEFTOVER_PATIENCE_SECONDS)
        words = f"; its {', '.join(ended)} still ran and had to be stopped" if ended else ""
        log.write(LAUNCHER, f"the earlier launcher (pid {record.launcher.pid}) was killed{words}")

    def _choose(self, folder: DataFolder) -> tuple[list[Server], Addresses]:
        options = self.options
        servers: list[Server] = []
        if options.redis_url is None or options.mongodb_uri is None:
            folder.refuse_if_full(options.limits.free_mb_at_start)
        redis_url, mongodb_uri = options.redis_url, options.mongodb_uri
        if redis_url is None:
            servers.append(ValkeyServer(folder))
            redis_url = servers[-1].url
        if mongodb_uri is None:
            servers.append(MongoServer(folder))
            mongodb_uri = servers[-1].url
        empty(folder.path / METRICS)
        key_file = options.key_file or folder.key_file
        ensure_key_file(key_file)
        ensure_key_file(folder.token_key_file)
        addresses = Addresses(
            redis_url=redis_url,
            mongodb_uri=mongodb_uri,
            port=ports.choose(options.port),
            flower_port=ports.choose(options.flower_port),
            data_dir=folder.path,
            music_roots=tuple(root.expanduser().absolute() for root in options.music_roots),
            workers=options.workers,
            host=options.host,
            key_file=key_file,
            search_url=options.search_url,
            search_servers=options.search_servers,
            search_port=ports.free_port(),
            search_token=secrets.token_urlsafe(32),
        )
        return servers, addresses

    def _check_given_servers(self, log: StackLog) -> None:
        """Say at once which of the servers that were given does not answer; it may come up while we wait."""
        self.phase = "asking the servers that were given"
        checks = (
            ("REDIS_URL", self.options.redis_url, trouble_with_redis),
            ("MONGODB_URI", self.options.mongodb_uri, trouble_with_mongodb),
        )
        for name, address, trouble_with in checks:
            trouble = address and trouble_with(address)
            if trouble:
                self._troubles.append(f"{name}: {trouble}.")
                log.write(LAUNCHER, f"the server of {name} can't be used yet: {trouble}")
                if self._console is None:
                    self.warnings.put(f"The server of {name} can't be used yet ({trouble}); waiting for it.")

    def _environment(self, addresses: Addresses) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != STACK_MARK}
        told = {"BACKLINE_TOKEN_KEY_FILE": str(addresses.data_dir / TOKEN_KEY_FILE)}
        return {**told, **inherited, **common_environment(addresses), **self.options.environment}

    def _watch(self, folder: DataFolder, household: Household, addresses: Addresses, log: StackLog) -> None:
        next_look = time.monotonic()
        deadline = time.monotonic() + self.options.limits.start_seconds
        while not self.stopping.wait(CALM_POLL_SECONDS if self.ready.is_set() else POLL_SECONDS):
            changed = household.keep()
            if household.servers and time.monotonic() > next_look:
                folder.refuse_if_full(self.options.limits.free_mb)
                next_look = time.monotonic() + self.options.limits.health_seconds
            if changed:
                self._note_processes(folder, household)
            if not self.ready.is_set():
                self._approach(folder, household, addresses, deadline)
            elif changed:
                self._publish(folder, household, addresses)

    def _approach(self, folder: DataFolder, household: Household, addresses: Addresses, deadline: float) -> None:
        household.refuse_false_starts()
        missing = household.waits_for()
        if not missing and household.others:  # servers alone have no front door
            missing = probe(addresses.port, addresses.near_host)
        if not missing:
            household.is_ready = True
            household.keep()
            self._note_processes(folder, household)
            self._publish(folder, household, addresses)
            self.ready.set()
            return
        self.phase = f"starting: waiting for {missing}"
        if time.monotonic() > deadline:
            seconds = self.options.limits.start_seconds
            words = " ".join([f"Not ready after {seconds:.0f} s: still waiting for {missing}.", *self._troubles])
            raise StartTimedOut(words)

    def _note_processes(self, folder: DataFolder, household: Household) -> None:
        noted = tuple(
            Noted(
                part=kept.part.name,
                turn=kept.part.turn,
                patience_seconds=kept.part.patience_seconds,
                identity=kept.child.identity,
            )
            for kept in household.members
            if kept.child is not None
        )
        record = ProcessRecord(stack_id=self._stack_id, launcher=ProcessIdentity.own(), processes=noted)
        with suppress(OSError):  # a full disk; the stack's mark still leads to every process
            record.write(folder.processes_file)

    def _publish(self, folder: DataFolder, household: Household, addresses: Addresses) -> None:
        self.running = RunningStack(
            url=addresses.url,
            flower_url=addresses.flower_url,
            redis_url=addresses.redis_url,
            mongodb_uri=addresses.mongodb_uri,
            data_dir=folder.path,
            key_file=addresses.key_file,
            launcher=ProcessIdentity.own(),
            started_at=self.running.started_at if self.running else now(),
            parts={kept.part.name: kept.child.pid for kept in household.members if kept.child is not None},
            music_roots=addresses.music_roots,
            is_temporary=self.options.is_temporary,
        )
        with suppress(OSError):
            self.running.write(folder.stack_file)

    def _stop(self, folder: DataFolder, household: Household, log: StackLog) -> None:
        self.phase = "stopping"
        folder.stack_file.unlink(missing_ok=True)
        log.write(LAUNCHER, "stopping")
        household.end(self.hurry)
        folder.processes_file.unlink(missing_ok=True)
        log.write(LAUNCHER, "stopped")


def probe(port: int, host: str = ports.LOOPBACK) -> str:
    """Ask the front door whether all is ready; return the names of what is down, or nothing."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return "api"
    finally:
        connection.close()
    return "" if answer.status == http.HTTPStatus.OK else _names_of_down(answer.status, body)


def _names_of_down(status: int, body: bytes) -> str:
    try:
        names = [str(name) for name in json.loads(body)["down"]]
    except (ValueError, KeyError, TypeError):
        names = []
    return ", ".join(names) or f"the front door, which answers with status {status}"
