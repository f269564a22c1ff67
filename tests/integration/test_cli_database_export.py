"""`backline database export` on a stack that runs: what breaks off goes on, and what can't be is said in a line."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from random import Random

import httpx
import pytest

from api.cli.client import Client, Json
from api.cli.download import ATTEMPTS, fetch
from deploy.stack import RunningStack
from tests.exported import read
from tests.flaky_proxy import flaky_proxy
from tests.shell import Shell
from tests.waiting import wait_until

USERS = 400
BIO_BYTES = 4_000
USAGE, UNREACHABLE, REFUSED = 2, 3, 4


@pytest.fixture(scope="module")
def users(http: httpx.Client, music_root: Path) -> list[str]:
    """The ids of users that the stack's library holds: a megabyte and a half of them."""
    chance = Random(4)
    path = music_root / "users.jsonl"
    rows = [
        {
            "userId": f"exported{n:04}",
            "createdAt": "2026-11-20T12:00:00Z",
            "bio": chance.randbytes(BIO_BYTES // 2).hex(),
        }
        for n in range(USERS)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    body = {"collection": "users", "format": "jsonl", "path": str(path)}
    place = http.post("/api/jobs/data_import", json=body).headers["location"]
    wait_until(lambda: http.get(place).json()["status"] == "succeeded", seconds=60, what="the users")
    return [str(row["userId"]) for row in rows]


def held(path: Path) -> list[str]:
    return sorted(one["userId"] for one in read("jsonl", path.read_bytes()) if one["userId"].startswith("exported"))


def export(*arguments: str) -> tuple[str, ...]:
    return ("database", "export", "-f", "jsonl", "-c", "users", *arguments)


def test_an_export_is_one_call_and_takes_the_place_of_the_file_before(
    shell: Shell, users: list[str], tmp_path: Path
) -> None:
    target = tmp_path / "users.jsonl"
    target.write_text("of yesterday")
    (tmp_path / "link.jsonl").symlink_to(target)

    told = shell(*export("-o", str(tmp_path / "link.jsonl"), "--json"))

    assert told.code == 0
    assert told.json["files"] == [str(tmp_path / "link.jsonl")]
    assert told.json["job"]["status"] == "succeeded"
    assert (tmp_path / "link.jsonl").is_symlink()
    assert held(target) == users
    (file,) = told.json["job"]["summary"]["files"]
    assert file["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert sorted(os.listdir(tmp_path)) == ["link.jsonl", "users.jsonl"]


def test_a_download_that_breaks_off_again_and_again_goes_on_where_it_was(
    stack: RunningStack, shell: Shell, users: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKLINE_API_KEY", stack.key)
    monkeypatch.setattr("api.cli.download.PAUSE_SECONDS", 0.01)
    target = tmp_path / "users.jsonl"
    with flaky_proxy(stack.url, bytes_max=100_000) as proxy:
        told = shell(*export("-o", str(target), "--url", proxy.url))

    assert (told.code, told.err) == (0, told.err)
    assert held(target) == users
    assert proxy.cuts > 12
    assert proxy.ranges == sorted(set(proxy.ranges))
    assert len(proxy.ranges) > 12
    assert os.listdir(tmp_path) == ["users.jsonl"]


def test_a_disk_that_is_full_is_said_and_the_next_call_goes_on(
    stack: RunningStack, shell: Shell, users: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "users.jsonl"
    limit = 300_000

    def with_small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "api.cli.main", *export("-o", str(target), "--data", str(stack.data_dir))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=with_small_disk)

    assert ended.returncode == 1
    assert "users.jsonl can't be written: File too large." in ended.stderr
    assert "run the command again" in ended.stderr
    (part,) = tmp_path.iterdir()
    assert (part.suffix, part.stat().st_size) == (".part", limit)

    monkeypatch.setenv("BACKLINE_API_KEY", stack.key)
    with flaky_proxy(stack.url, bytes_max=1 << 30) as proxy:
        assert shell(*export("-o", str(target), "--url", proxy.url)).code == 0
    assert proxy.ranges == [limit]
    assert held(target) == users
    assert os.listdir(tmp_path) == ["users.jsonl"]


def test_a_way_that_stays_broken_is_given_up_and_what_came_is_kept(
    stack: RunningStack, shell: Shell, users: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKLINE_API_KEY", stack.key)
    monkeypatch.setattr("api.cli.download.PAUSE_SECONDS", 0.01)
    with flaky_proxy(stack.url, bytes_max=1 << 30) as proxy:

        def fetch_after_the_break(client: Client, file: Json, target: Path) -> None:
            proxy.bytes_max = 1  # not even a header gets through
            fetch(client, file, target)

        monkeypatch.setattr("api.cli.database_export.fetch", fetch_after_the_break)
        told = shell(*export("-o", str(tmp_path / "users.jsonl"), "--url", proxy.url))

    assert told.code == UNREACHABLE
    assert "keeps what has arrived: run the command again" in told.err
    # The connection that was open before may be cut, too, before the attempts that are counted.
    assert proxy.cuts in (ATTEMPTS, ATTEMPTS + 1)
    assert [one.suffix for one in tmp_path.iterdir()] == [".part"]


def test_what_can_not_be_exported_or_written_is_refused_in_a_line(
    shell: Shell, users: list[str], tmp_path: Path
) -> None:
    wrong = shell("database", "export", "-c", "keys", "-o", str(tmp_path))
    assert wrong.code == REFUSED
    assert "is no collection of a library: those are users, audio_features" in wrong.line
    for target, words in (
        (tmp_path / "nowhere" / "users.jsonl", "There is no folder"),
        (Path("-"), "- is no file"),
        (Path("/dev/null"), "/dev/null is no file"),
    ):
        answer = shell(*export("-o", str(target)))
        assert (answer.code, words in answer.line) == (USAGE, True), answer.err
    several = shell("database", "export", "-o", str(tmp_path / "all.json"))
    assert (several.code, "is no folder" in several.line) == (USAGE, True)
    assert os.listdir(tmp_path) == []
