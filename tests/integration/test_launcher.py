"""The launcher with real servers, and with small stand-ins for Backline's own parts.

Run as a program, this file is a launcher in the foreground: ``python test_launcher.py DATA_DIR``.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pymongo
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.errors import (
    DataFolderInUse,
    DiskAlmostFull,
    PartFailed,
    PartMisconfigured,
    PortInUse,
    ServerGaveUp,
    StartTimedOut,
)
from deploy.parts import Addresses, Part, Turn
from deploy.processes import ProcessIdentity
from deploy.stack import RunningStack, Stack, StackOptions, read_running_stack, run_foreground, temporary_stack
from deploy.supervision import Limits
from shared.errors import WrongSetting
from tests.waiting import wait_until

QUICK = Limits(
    start_seconds=30,
    backoff_seconds=0.05,
    backoff_seconds_max=0.2,
    health_seconds=0.1,
    refusing_seconds=0.3,
    silent_seconds=4,
    hurry_seconds=0.3,
)

API = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2])); self.end_headers(); self.wfile.write(b'{"down": ["cpu"]}')
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""
WORKER = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def leave(*_): print("worker leaves", flush=True); sys.exit()
signal.signal(signal.SIGTERM, leave)
print("child", child.pid, flush=True)
while True: time.sleep(60)
"""
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"

BUSY = """
import signal, time
asked = []
signal.signal(15, lambda *_: asked.append(time.monotonic()))
print("up", flush=True)
while not asked: time.sleep(0.01)
while time.monotonic() - asked[0] < 2: pass
print("all is on the disk", flush=True)
"""


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program, *arguments)


def api(addresses: Addresses, *, status: int = 200) -> Part:
    return Part(name="api", command=python(API, str(addresses.port), str(status)))


def worker(name: str = "heavy", program: str = WORKER, patience_seconds: float = 20) -> Part:
    return Part(name=name, command=python(program), turn=Turn.WORKERS, patience_seconds=patience_seconds)


def stand_ins(addresses: Addresses) -> Sequence[Part]:
    return (api(addresses), worker())


def unready(addresses: Addresses) -> Sequence[Part]:
    return (api(addresses, status=503), worker())


def with_a_deaf_worker(addresses: Addresses) -> Sequence[Part]:
    return (api(addresses), worker(program=STUBBORN))


def with_a_busy_worker(addresses: Addresses) -> Sequence[Part]:
    parts = (worker("busy", BUSY, 0.5), worker("deaf", STUBBORN, 0.5))
    return (api(addresses), *(replace(part, busy_seconds=60.0) for part in parts))


def options(data_dir: Path | None, **changes: Any) -> StackOptions:
    chosen = StackOptions(
        data_dir=data_dir, parts=stand_ins, limits=QUICK, quiet=True, redis_url=None, mongodb_uri=None
    )
    return replace(chosen, **changes)


@contextmanager
def foreground(data_dir: Path, kind: str = "stand_ins") -> Iterator[tuple[subprocess.Popen[str], RunningStack]]:
    """Run a launcher as a process; it is killed at the end if the test has not ended it."""
    command = [sys.executable, __file__, str(data_dir), kind]
    root = str(Path(__file__).parents[2])
    launcher = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    with launcher:
        try:
            stack = wait_until(lambda: running_or_failed(launcher, data_dir))
            assert stack is not None
            yield launcher, stack
        finally:
            launcher.kill()
            wait_until(lambda: not (data_dir / "processes.json").exists())  # its guardian has cleaned up


def running_or_failed(launcher: subprocess.Popen[str], data_dir: Path) -> RunningStack | None:
    assert launcher.poll() is None, launcher.communicate()[0]
    return read_running_stack(data_dir)


_strangers: set[psutil.Process] = set()


@pytest.fixture(autouse=True)
def _other_tests_processes() -> None:
    """Know what this process had started before the test, such as the session's servers."""
    _strangers.clear()
    _strangers.update(psutil.Process().children(recursive=True))


def family(pid: int) -> list[psutil.Process]:
    """Return all processes that this one started in this test, at any remove."""
    return [process for process in psutil.Process(pid).children(recursive=True) if process not in _strangers]


def all_gone(processes: Sequence[psutil.Process]) -> bool:
    return not any(is_running(process) for process in processes)


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def new_pid(data_dir: Path, part: str, old: int) -> Callable[[], int | None]:
    def look() -> int | None:
        stack = read_running_stack(data_dir)
        pid = stack.parts.get(part) if stack else None
        return None if pid == old else pid

    return look


@contextmanager
def database(stack: RunningStack) -> Iterator[pymongo.MongoClient[dict[str, Any]]]:
    with pymongo.MongoClient[dict[str, Any]](stack.mongodb_uri) as client:
        yield client


@contextmanager
def broker(stack: RunningStack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.redis_url) as client:
        yield client


def log_of(data_dir: Path) -> str:
    return (data_dir / "logs" / "backline.log").read_text()


def test_a_temporary_stack_serves_and_leaves_nothing_behind() -> None:
    with temporary_stack(options(None)) as stack:
        with database(stack) as client, broker(stack) as valkey:
            client.test.things.insert_one({"_id": 1})
            assert valkey.ping()
        started = family(os.getpid())
        assert {process.pid for process in started} > set(stack.parts.values())
        assert len(started) == 6  # valkey, mongodb, api, the worker and its child, the guardian
        assert (stack.data_dir / "stack.json").stat().st_mode & 0o777 == 0o600
        assert read_running_stack(stack.data_dir) == stack

    assert all_gone(started)
    assert not stack.data_dir.exists()


REFUSING = "import sys; print('backline: No such kind. Correct it.'); sys.exit(78)"


def refusing(addresses: Addresses) -> Sequence[Part]:
    # the real API is not ready either while a worker is missing
    return (api(addresses, status=503), worker(program=REFUSING))


def test_a_part_that_refuses_its_settings_is_started_once_only(tmp_path: Path) -> None:
    refused = pytest.raises(PartMisconfigured, match=r"^heavy refuses to start: No such kind. Correct it.$")
    with refused, temporary_stack(options(tmp_path, parts=refusing)):
        pytest.fail("it must not become ready")
    assert log_of(tmp_path).count("heavy ended with status 78") == 1


def test_a_server_that_was_given_and_does_not_answer_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impatient = replace(QUICK, start_seconds=0.5)
    given = options(tmp_path, redis_url="redis://:secret@127.0.0.1:9/0", parts=unready, limits=impatient)
    with pytest.raises(StartTimedOut, match=r"REDIS_URL: Error 111") as caught, temporary_stack(given):
        pytest.fail("it must not become ready")
    assert "The server of REDIS_URL can't be used yet" in " ".join(capsys.readouterr().err.split())
    assert "secret" not in str(caught.value) + log_of(tmp_path)


@pytest.mark.parametrize("changes", [{"redis_url": "http://x"}, {"mongodb_uri": "mongodb://"}])
def test_an_address_of_a_server_that_is_none_is_refused_at_once(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(WrongSetting, match=next(iter(changes)).upper()), temporary_stack(options(tmp_path, **changes)):
        pytest.fail("it must not become ready")


def test_a_temporary_stack_stops_when_the_block_fails() -> None:
    with pytest.raises(ZeroDivisionError), temporary_stack(options(None)) as stack:  # noqa: PT012
        started = family(os.getpid())
        raise ZeroDivisionError

    assert all_gone(started)
    assert not stack.data_dir.exists()


def test_the_servers_want_a_password_and_listen_on_loopback_only(tmp_path: Path) -> None:
    with temporary_stack(options(tmp_path)) as stack, broker(stack) as valkey:
        settings: Any = valkey.config_get("*")
        with (
            redis.Redis(port=int(settings["port"]), retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        addresses = {
            connection.laddr.ip
            for part in ("valkey", "mongodb")
            for connection in psutil.Process(stack.parts[part]).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert addresses == {"127.0.0.1"}
        for process in family(os.getpid()):
            assert settings["requirepass"] not in " ".join(process.cmdline())


def test_a_second_launcher_on_the_same_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    with temporary_stack(options(tmp_path)) as stack:
        with pytest.raises(DataFolderInUse, match=f"in use by process {os.getpid()}"):
            Stack(options(tmp_path)).start()

        assert read_running_stack(tmp_path) == stack


def test_sigterm_stops_the_front_then_workers_then_servers(tmp_path: Path) -> None:
    with foreground(tmp_path) as (launcher, stack):
        started = family(launcher.pid)
        launcher.terminate()

        output, _ = launcher.communicate(timeout=20)

        assert launcher.returncode == 0
        assert f"Backline is up: {stack.url}" in output
        assert stack.flower_url in output
        assert all_gone(started)
        assert read_running_stack(tmp_path) is None
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "api.key", "backline.lock", "logs", "mongodb", "mongodb.toml", "servers.json", "tokens.key", "valkey",
        ]  # fmt: skip
        log = log_of(tmp_path)
        assert log.index("worker leaves") < log.index("User requested shutdown")
        assert re.search(r"^\d\d:\d\d:\d\d valkey   \| Ready to accept connections", log, re.MULTILINE)


def test_a_second_signal_hurries_the_stop(tmp_path: Path) -> None:
    with foreground(tmp_path, "with_a_deaf_worker") as (launcher, _):
        started = family(launcher.pid)
        launcher.send_signal(signal.SIGINT)
        wait_until(lambda: "launcher | stopping" in log_of(tmp_path))
        begun = time.monotonic()

        launcher.send_signal(signal.SIGINT)

        assert launcher.wait(timeout=15) == 0
        assert time.monotonic() - begun < 10  # the deaf worker had 20 s
        assert all_gone(started)


def test_a_part_that_is_busy_gets_its_time_and_one_that_hangs_does_not(tmp_path: Path) -> None:
    with temporary_stack(options(tmp_path, parts=with_a_busy_worker)):
        wait_until(lambda: "up" in log_of(tmp_path) and "deaf" in log_of(tmp_path), what="both parts")
        begun = time.monotonic()

    assert "busy     | all is on the disk" in log_of(tmp_path)
    assert time.monotonic() - begun < 20


def test_when_the_launcher_is_killed_its_guardian_stops_everything(tmp_path: Path) -> None:
    with foreground(tmp_path) as (launcher, _):
        started = family(launcher.pid)

        launcher.kill()

        wait_until(lambda: all_gone(started))
        assert log_of(tmp_path).count("worker leaves") == 0  # nobody reads its last words
        assert not (tmp_path / "stack.json").exists()


def test_after_launcher_and_guardian_were_killed_the_next_start_cleans_up(tmp_path: Path) -> None:
    with foreground(tmp_path) as (launcher, stack):
        with database(stack) as client:
            client.test.things.insert_one({"_id": "kept"})
        started = family(launcher.pid)
        guardian = next(process for process in started if "deploy.guardian" in process.cmdline())
        guardian.kill()
        launcher.kill()
        launcher.wait()
        orphans = [process for process in started if process != guardian]
        assert all(is_running(process) for process in orphans)
        assert read_running_stack(tmp_path) is None

        with temporary_stack(options(tmp_path)) as next_stack, database(next_stack) as client:
            assert all_gone(orphans)
            assert client.test.things.find_one() == {"_id": "kept"}

        assert "still ran and had to be stopped" in log_of(tmp_path)


def test_a_stranger_with_a_noted_pid_is_left_alone(tmp_path: Path) -> None:
    """Given a note from a crash whose pid now belongs to somebody else, when a launcher starts, then that one lives."""
    with subprocess.Popen(python("import time; time.sleep(600)")) as stranger:
        note = (
            '{"stackId": "dead", "launcher": {"pid": 1, "startTime": "no"}, "processes": [{"part": "heavy", '
            f'"turn": 1, "patienceSeconds": 1, "pid": {stranger.pid}, "startTime": "1"}}]}}'
        )
        (tmp_path / "processes.json").write_text(note)
        try:
            with temporary_stack(options(tmp_path)):
                assert stranger.poll() is None
        finally:
            stranger.kill()


@pytest.mark.parametrize("server", ["mongodb", "valkey"])
def test_a_killed_server_is_restarted_with_its_data_at_the_same_address(tmp_path: Path, server: str) -> None:
    with temporary_stack(options(tmp_path)) as stack, database(stack) as client, broker(stack) as valkey:
        client.test.things.insert_many([{"_id": number} for number in range(500)])
        valkey.rpush("queue", *range(500))
        wait_until(lambda: valkey.info("persistence")["aof_pending_bio_fsync"] == 0)

        os.kill(stack.parts[server], signal.SIGKILL)

        wait_until(new_pid(tmp_path, server, stack.parts[server]))
        wait_until(lambda: answers(client, valkey))
        assert client.test.things.count_documents({}) == 500
        assert valkey.llen("queue") == 500
        assert "was killed by SIGKILL" in log_of(tmp_path)


def answers(client: pymongo.MongoClient[dict[str, Any]], valkey: redis.Redis) -> bool:
    try:
        return bool(client.admin.command("ping") and valkey.ping())
    except (pymongo.errors.ConnectionFailure, redis.ConnectionError):
        return False


def test_a_server_that_hangs_is_restarted(tmp_path: Path) -> None:
    impatient = replace(QUICK, silent_seconds=1)
    with temporary_stack(options(tmp_path, limits=impatient)) as stack:
        hung = psutil.Process(stack.parts["valkey"])
        hung.suspend()
        try:
            wait_until(new_pid(tmp_path, "valkey", hung.pid), seconds=40)
        finally:
            if is_running(hung):
                hung.resume()


def test_a_server_that_refuses_again_after_a_restart_stops_the_stack(tmp_path: Path) -> None:
    def refuse_writes(stack: RunningStack) -> None:
        with broker(stack) as valkey:
            valkey.config_set("maxmemory", 1)

    gave_up = pytest.raises(ServerGaveUp, match=r"valkey answers with errors .*maxmemory.*also after a restart")
    with gave_up, temporary_stack(options(tmp_path)) as stack:
        started = family(os.getpid())
        refuse_writes(stack)
        wait_until(new_pid(tmp_path, "valkey", stack.parts["valkey"]))
        wait_until(lambda: succeeds(lambda: refuse_writes(stack)))
        wait_until(lambda: all_gone(started))

    assert "restarted once" in log_of(tmp_path)


def succeeds(action: Callable[[], None]) -> bool:
    try:
        action()
    except redis.RedisError:
        return False
    return True


def test_a_stack_stops_in_order_before_its_disk_is_full(tmp_path: Path) -> None:
    with pytest.raises(DiskAlmostFull, match="MB are free for the data folder"):
        Stack(options(tmp_path, limits=replace(QUICK, free_mb_at_start=0, free_mb=10**12))).start()

    assert family(os.getpid()) == []
    assert "launcher | stopped" in log_of(tmp_path)


def test_a_part_that_dies_is_restarted_and_its_children_with_it(tmp_path: Path) -> None:
    with temporary_stack(options(tmp_path)) as stack:
        children = wait_until(lambda: family(stack.parts["heavy"]), what="the worker's child")
        old = [psutil.Process(stack.parts["heavy"]), *children]

        old[0].kill()

        assert wait_until(new_pid(tmp_path, "heavy", stack.parts["heavy"]))
        assert all_gone(old)


def test_a_part_that_can_not_start_ends_the_start_with_its_last_words(tmp_path: Path) -> None:
    def broken(addresses: Addresses) -> Sequence[Part]:
        return (api(addresses, status=503), worker(program="raise SystemExit('no module named music')"))

    with pytest.raises(PartFailed, match="heavy ended 3 times while starting: no module named music"):
        Stack(options(tmp_path, parts=broken)).start()

    assert family(os.getpid()) == []


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    def missing(addresses: Addresses) -> Sequence[Part]:
        return (Part(name="api", command=("backline-no-such-program", str(addresses.port))),)

    with pytest.raises(PartFailed, match="backline-no-such-program can't be started"):
        Stack(options(tmp_path, parts=missing)).start()

    assert family(os.getpid()) == []


def test_a_stack_that_is_not_ready_in_time_says_what_it_waits_for(tmp_path: Path) -> None:
    with pytest.raises(StartTimedOut, match="after 3 s: still waiting for cpu"):
        Stack(options(tmp_path, parts=unready, limits=replace(QUICK, start_seconds=3))).start()

    assert family(os.getpid()) == []


def test_configured_servers_are_used_and_none_is_started(tmp_path: Path) -> None:
    with temporary_stack(options(tmp_path / "one")) as one:
        given = options(tmp_path / "two", redis_url=one.redis_url, mongodb_uri=one.mongodb_uri)
        with temporary_stack(given) as two:
            assert set(two.parts) == {"api", "heavy"}
            told = psutil.Process(two.parts["heavy"]).environ()
            assert told["MONGODB_URI"] == one.mongodb_uri
            assert told["BACKLINE_TOKEN_KEY_FILE"] == str(tmp_path / "two" / "tokens.key")
            assert (tmp_path / "two" / "tokens.key").stat().st_mode & 0o777 == 0o600

        assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [
            "api.key",
            "backline.lock",
            "logs",
            "tokens.key",
        ]


def test_parts_are_told_where_everything_is(tmp_path: Path) -> None:
    roots = (tmp_path / "music", tmp_path / "more music")
    with temporary_stack(options(tmp_path, music_roots=roots, environment={"BACKLINE_LEASE_SECONDS": "5"})) as stack:
        told = psutil.Process(stack.parts["heavy"]).environ()

    assert told["REDIS_URL"] == stack.redis_url
    assert told["MONGODB_URI"] == stack.mongodb_uri
    assert told["BACKLINE_MUSIC_ROOTS"] == os.pathsep.join(map(str, roots))
    assert told["BACKLINE_DATA_DIR"] == str(tmp_path)
    assert told["BACKLINE_LEASE_SECONDS"] == "5"
    assert {told[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}


def test_a_long_data_path_with_odd_letters_works(tmp_path: Path) -> None:
    deep = tmp_path / ("long name with spaces " * 8) / "é'ü$%" / ("x" * 150)
    with temporary_stack(options(deep)) as stack, database(stack) as client, broker(stack) as valkey:
        assert client.test.things.insert_one({"_id": 1}).acknowledged
        assert valkey.set("a", "b")


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(PortInUse, match="is in use"):
        Stack(options(tmp_path, port=taken.getsockname()[1])).start()


def test_a_flood_of_output_neither_blocks_a_part_nor_the_stack(tmp_path: Path) -> None:
    flood = f"for _ in range(20000): print('n' * 200)\nprint('flooded'){WORKER}"

    def noisy(addresses: Addresses) -> Sequence[Part]:
        return (api(addresses), worker(program=flood))

    with temporary_stack(options(tmp_path, parts=noisy)):
        wait_until(lambda: "flooded" in log_of(tmp_path))


def test_a_stack_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, __file__, str(tmp_path), "unready"], **quiet_output()) as launcher:
        wait_until(lambda: (tmp_path / "logs" / "backline.log").exists() and "child" in log_of(tmp_path))
        started = family(launcher.pid)
        launcher.terminate()
        launcher.wait(timeout=20)

    assert all_gone(started)


def quiet_output() -> dict[str, Any]:
    root = str(Path(__file__).parents[2])
    return {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ, "PYTHONPATH": root}}


def test_a_dead_launchers_note_is_no_running_stack(tmp_path: Path) -> None:
    with temporary_stack(options(tmp_path)) as stack:
        reused = replace(stack, launcher=ProcessIdentity(pid=os.getpid(), start_time="another time"))
    reused.write(tmp_path / "stack.json")

    assert read_running_stack(tmp_path) is None


if __name__ == "__main__":
    sys.exit(run_foreground(options(Path(sys.argv[1]), parts=globals()[sys.argv[2]], quiet=False)))
