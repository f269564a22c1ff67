"""The command line against a stack that runs: every command, for people and for programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.stack import RunningStack
from shared.access import DEFAULT_OWNER
from shared.settings import Settings
from shared.store import schedules
from shared.store.database import connect
from shared.store.schedules import ScheduleError
from tests.environment import variables_set
from tests.shell import Answer, Shell
from tests.waiting import wait_until

USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 2, 3, 4, 130


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a command as the shell does."""
    command = [sys.executable, "-m", "api.cli.main", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until(stream: Any, words: str) -> None:
    """Read lines until one has `words` in it."""
    for line in stream:
        if words in line:
            return
    pytest.fail(f"{words!r} was never written")


# Where the stack is


def test_the_stack_is_found_by_its_data_folder_and_by_its_address(
    stack: RunningStack, nowhere: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nowhere("status", "--data", str(stack.data_dir)).code == 0
    assert nowhere("status", "--url", stack.url + "/", "--data", str(stack.data_dir)).code == 0
    with variables_set(monkeypatch, {"BACKLINE_URL": stack.url, "BACKLINE_API_KEY": stack.key}):
        assert nowhere("status").code == 0


def test_without_its_key_a_stack_says_where_to_find_it(stack: RunningStack, nowhere: Shell) -> None:
    answer = nowhere("status", "--url", stack.url)
    assert answer.code == REFUSED
    assert "No key came with the request." in answer.err
    assert "BACKLINE_API_KEY" in answer.err
    assert "--data" in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("kinds",),
        ("jobs", "list", "--json"),
        ("jobs", "show", "x"),
        ("jobs", "watch", "x"),
        ("jobs", "items", "x"),
        ("jobs", "cancel", "x"),
        ("jobs", "retry", "x"),
        ("submit", "squares"),
        ("schedules", "list"),
        ("schedules", "pause", "x"),
    ],
)
def test_without_a_stack_each_command_says_how_to_start_one(nowhere: Shell, arguments: Sequence[str]) -> None:
    answer = nowhere(*arguments)
    assert answer.code == UNREACHABLE
    assert "backline up" in answer.line


def test_an_address_where_nobody_answers_is_named(nowhere: Shell) -> None:
    answer = nowhere("status", "--url", "http://127.0.0.1:9")
    assert (answer.code, "http://127.0.0.1:9" in answer.line) == (UNREACHABLE, True)


def test_something_else_that_answers_is_no_backline(stack: RunningStack, nowhere: Shell) -> None:
    def answer() -> Answer | None:
        found = nowhere("status", "--url", stack.flower_url)
        return found if "is no Backline" in found.err else None

    # Flower is no condition for the stack to be ready, so it may answer later.
    assert wait_until(answer, what="an answer of Flower").code == UNREACHABLE


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://x:y"])
def test_what_is_no_address_is_refused(nowhere: Shell, url: str) -> None:
    answer = nowhere("status", "--url", url)
    assert (answer.code, "is no address" in answer.line) == (USAGE, True)


def test_a_wrong_setting_is_named(nowhere: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with variables_set(monkeypatch, {"BACKLINE_API_PORT": "many"}):
        answer = nowhere("status")
    assert answer.code == USAGE
    assert "BACKLINE_API_PORT" in answer.line


# Status, kinds


def test_the_status_shows_every_part(shell: Shell, stack: RunningStack) -> None:
    shell.ended(items=2)
    people, programs = shell("status"), shell("status", "--json")
    assert (people.code, people.err) == (0, "")
    for words in (stack.url, "MongoDB", "Redis", "control", "cpu", "waits", "Jobs: "):
        assert words in people.out
    assert programs.json["parts"]["mongodb"]["ok"]
    assert programs.json["queues"]["cpu"]["slots"] == 2


def test_the_kinds_are_listed_with_an_example(shell: Shell) -> None:
    assert "backline submit audio_features '{" in shell("kinds").out
    assert "squares" in [kind["name"] for kind in shell("kinds", "--json").json["kinds"]]


# Jobs


def test_a_job_is_submitted_watched_and_shown(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"items": 12}')
    watched = shell("submit", "squares", f"@{tmp_path}/request.json", "--user", "ada", "--watch")
    job_id = watched.out.split()[1]
    shown = shell("jobs", "show", job_id, "--json").json

    assert watched.code == 0
    assert "succeeded" in watched.err
    assert "12 of 12" in shell("jobs", "show", job_id).out
    assert (shown["userId"], shown["status"], shown["summary"]["good"]) == ("ada", "succeeded", 12)


def test_an_idempotency_key_makes_a_second_submission_the_first_job(shell: Shell) -> None:
    first = shell("submit", "squares", '{"items": 1}', "--key", "once", "--json").json
    assert shell("submit", "squares", '{"items": 1}', "--key", "once").out.strip() == first["id"]
    conflict = shell("submit", "squares", '{"items": 2}', "--key", "once")
    assert (conflict.code, "different request" in conflict.line) == (REFUSED, True)


def test_jobs_are_listed_and_filtered(shell: Shell) -> None:
    mine = [shell("submit", "squares", '{"items": 1}', "--user", "bea", "--watch", "--json").json["id"] for _ in "ab"]

    listed = shell("jobs", "list", "--user", "bea", "--status", "succeeded", "--kind", "squares", "--json").json["jobs"]
    newest = shell("jobs", "list", "--user", "bea", "--limit", "1", "--json").json["jobs"]

    assert [job["id"] for job in listed] == mine[::-1]
    assert [job["id"] for job in newest] == mine[1:]
    assert mine[0] in shell("jobs", "list", "--user", "bea").out
    assert shell("jobs", "list", "--user", "nobody").err == "There is no such job.\n"
    assert shell("jobs", "list", "--user", "nobody", "--json").json == {"jobs": []}


def test_what_failed_is_shown_and_retried(shell: Shell) -> None:
    answer = shell("submit", "squares", '{"items": 12, "failsOnce": [3, 7]}', "--watch", "--json")
    job_id = answer.json["id"]
    failed = shell("jobs", "items", job_id, "--status", "failed", "--json").json

    assert (answer.code, answer.json["status"]) == (1, "partial")
    assert [item["item"]["number"] for item in failed["items"]] == [3, 7]
    assert "odd_number: 3 was asked to fail." in shell("jobs", "items", job_id, "--status", "failed").out
    assert f"backline jobs items {job_id}" in shell("jobs", "show", job_id).err

    retried = shell("jobs", "retry", job_id, "--watch", "--json")
    assert (retried.code, retried.json["status"], retried.json["epoch"]) == (0, "succeeded", 1)


def test_items_are_written_whole_as_json_and_csv(shell: Shell, tmp_path: Path) -> None:
    job_id = shell.ended(items=1200)
    assert shell("jobs", "items", job_id, "--output", str(tmp_path / "all.json")).code == 0
    assert shell("jobs", "items", job_id, "-o", str(tmp_path / "some.csv"), "--limit", "3").code == 0
    document = json.loads((tmp_path / "all.json").read_text())
    assert [item["result"]["square"] for item in document["items"]] == [number**2 for number in range(1200)]
    assert document["job"]["id"] == job_id
    assert len((tmp_path / "some.csv").read_text().splitlines()) == 4
    reported = shell("jobs", "items", job_id, "-o", str(tmp_path / "all.csv"), "--json").json
    assert reported == {"output": str(tmp_path / "all.csv"), "format": "csv"}
    assert "The first 100 items" in shell("jobs", "items", job_id).err
    assert "no such item" in shell("jobs", "items", job_id, "--status", "failed").err


def test_a_running_job_is_cancelled(shell: Shell) -> None:
    first, second = shell.submit(items=1000, seconds=0.2), shell.submit(items=1000, seconds=0.2)
    assert shell("jobs", "cancel", first, second, "--json").code == 0
    watched = shell("jobs", "watch", first, second, "--json")
    assert watched.code == 1
    assert [job["status"] for job in watched.json["jobs"]] == ["cancelled"] * 2


def test_what_a_job_allows_no_more_is_refused(shell: Shell) -> None:
    done, other = shell.ended(items=1), shell.submit(items=1000, seconds=0.2)
    for arguments, words in (
        (("cancel", done), "has ended"),
        (("retry", done), "succeeded"),
        (("retry", other), "is "),
        (("show", "job_x"), "There is no job"),
        (("watch", "job_x"), "There is no job"),
        (("items", "../x"), "There is no"),
    ):
        answer = shell("jobs", *arguments)
        assert (answer.code, words in answer.line) == (REFUSED, True)
    # One that refuses does not keep the others from it.
    mixed = shell("jobs", "cancel", "job_x", other)
    assert (mixed.code, other in mixed.out, "job_x" in mixed.err) == (REFUSED, True, True)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ("{", USAGE, "no valid JSON"),
        ("[1]", USAGE, "no JSON object"),
        ('{"items": NaN}', USAGE, "no JSON number"),
        ("[" * 100_000, USAGE, "no valid JSON"),
        ('{"userId": "\\ud800"}', USAGE, "no valid Unicode"),
        ("@/nowhere.json", USAGE, "can't be read"),
        ('{"items": "many"}', REFUSED, "items"),
        ('{"itmes": 3}', REFUSED, "itmes"),
    ],
)
def test_a_wrong_request_is_refused_with_the_reason(shell: Shell, request_: str, code: int, words: str) -> None:
    answer = shell("submit", "squares", request_)
    assert (answer.code, words in answer.line) == (code, True)


def test_a_key_that_no_header_can_carry_is_refused(nowhere: Shell) -> None:
    answer = nowhere("submit", "squares", "--key", "ключ")
    assert (answer.code, "--key" in answer.line) == (USAGE, True)


def test_a_user_that_contradicts_the_request_is_refused(nowhere: Shell) -> None:
    answer = nowhere("submit", "squares", '{"userId": "ada"}', "--user", "bea")
    assert (answer.code, "--user bea" in answer.line) == (USAGE, True)


def test_the_fields_of_a_kind_are_shown(shell: Shell) -> None:
    shown = shell("kinds", "audio_features").out
    for words in ("quick | standard | full", '"local"', "list of {trackId, path}", "backline submit audio_features"):
        assert words in shown
    assert shell("kinds", "squares", "--json").json["name"] == "squares"
    unknown = shell("kinds", "cubes")
    assert (unknown.code, "squares" in unknown.line) == (USAGE, True)


def test_a_mistake_is_told_in_the_same_words_at_each_door(shell: Shell) -> None:
    wrong = '{"items": "many"}'
    submitted = shell("submit", "squares", wrong)
    scheduled = shell("schedules", "add", "odd", "--kind", "squares", "--request", wrong, "--every", "60")
    assert submitted.line == scheduled.line


def test_an_unknown_kind_lists_the_known_ones(shell: Shell) -> None:
    answer = shell("submit", "cubes")
    assert (answer.code, "squares" in answer.line) == (REFUSED, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("jbos",),
        ("jobs", "list", "--limit", "many"),
        ("jobs", "list", "--status", "sleeping"),
        ("jobs", "show"),
        ("--nonsense",),
    ],
)
def test_wrong_usage_is_one_line(nowhere: Shell, arguments: Sequence[str]) -> None:
    answer = nowhere(*arguments)
    assert (answer.code, "--help" in answer.line) == (USAGE, True)


@pytest.mark.parametrize("arguments", [(), ("jobs",), ("schedules",)])
def test_a_command_that_is_missing_brings_the_help(nowhere: Shell, arguments: Sequence[str]) -> None:
    answer = nowhere(*arguments)
    assert (answer.code, answer.err) == (USAGE, "")
    assert "Usage: backline" in answer.out


def test_an_unknown_status_lists_the_known_ones(nowhere: Shell) -> None:
    assert "'waiting_quota'" in nowhere("jobs", "list", "--status", "sleeping").line


def test_the_version_and_the_help_need_no_stack(nowhere: Shell) -> None:
    assert nowhere("--version").out.startswith("backline ")
    assert "Exit codes" in nowhere("--help").out
    for command in ("up", "extract", "submit", "jobs", "schedules", "status", "kinds"):
        assert "Usage" in nowhere(command, "--help").out


# Watching from outside


def test_ctrl_c_leaves_the_job_at_work_and_says_how_to_go_on(shell: Shell) -> None:
    job_id = shell.submit(items=1000, seconds=0.2)
    with start("jobs", "watch", job_id) as process:
        read_until(process.stderr, "running")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED
    assert f"backline jobs watch {job_id}" in err
    assert f"backline jobs cancel {job_id}" in err
    assert "Traceback" not in err
    assert shell("jobs", "show", job_id, "--json").json["status"] == "running"
    shell("jobs", "cancel", job_id)


def test_a_watcher_survives_a_restart_of_the_api(shell: Shell, stack: RunningStack) -> None:
    job_id = shell.submit(items=40, seconds=0.2)
    with start("jobs", "watch", job_id, "--json") as process:
        read_until(process.stderr, "running")
        os.kill(stack.parts["api"], signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["progress"]["succeeded"] == 40


@pytest.mark.parametrize("arguments", [("jobs", "items"), ("jobs", "show")])
def test_a_reader_that_goes_away_gets_no_traceback(shell: Shell, arguments: Sequence[str]) -> None:
    job_id = shell.ended(items=1500)
    with start(*arguments, job_id, "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


# Schedules


def test_a_schedule_is_added_paused_resumed_and_removed(shell: Shell) -> None:
    request = ("--kind", "squares", "--request", '{"items": 1}')
    added = shell(
        "schedules", "add", "nightly", *request, "--cron", "0 2 * * *", "--timezone", "Europe/Berlin", "--json"
    )
    assert added.json["cron"] == "0 2 * * *"
    assert "every 1 h" in shell("schedules", "add", "hourly", *request, "--every", "3600", "--paused").out
    assert "0 2 * * * (Europe/Berlin)" in shell("schedules", "list").out
    assert shell("schedules", "pause", "nightly", "--json").json["paused"]
    assert "next in" in shell("schedules", "resume", "nightly").out
    assert "Removed" in shell("schedules", "remove", "nightly").out
    assert shell("schedules", "remove", "hourly", "--json").json == {"removed": "hourly"}
    defaults = shell("schedules", "list", "--json").json["schedules"]
    assert [(one["name"], one["kind"], one["paused"]) for one in defaults] == [
        ("cache-warming", "cache_warming", True),
        ("catalogue-weekly", "catalogue_import", True),
        ("database-nightly", "database_validate", False),
        ("spotify-history", "history_sync", True),
    ]
    for one in defaults:
        assert shell("schedules", "remove", one["name"]).code == 0
    assert "no schedule" in shell("schedules", "list").err


def test_a_schedule_is_edited_as_the_refusal_of_a_second_one_advises(shell: Shell) -> None:
    request = ("--kind", "squares", "--request", '{"items": 1}')
    shell("schedules", "add", "nightly", *request, "--cron", "0 2 * * *")
    twice = shell("schedules", "add", "nightly", *request, "--every", "60")
    assert (twice.code, "backline schedules edit" in twice.line) == (REFUSED, True)

    edited = shell("schedules", "edit", "nightly", "--every", "60", "--request", '{"items": 2}', "--json").json

    assert (edited["cron"], edited["everySeconds"], edited["request"]) == (None, 60.0, {"items": 2})
    for wrong in ((), ("--user", "ada"), ("--cron", "0 2 * * *", "--every", "60")):
        assert shell("schedules", "edit", "nightly", *wrong).code == USAGE
    shell("schedules", "remove", "nightly")


def test_why_a_schedule_has_no_job_is_listed(shell: Shell, stack: RunningStack) -> None:
    request = ("--kind", "squares", "--request", '{"items": 1}')
    shell("schedules", "add", "odd", *request, "--cron", "0 2 * * *", "--paused")
    db = connect(Settings(mongodb_uri=stack.mongodb_uri))
    with db.client:
        schedules.update(
            db, DEFAULT_OWNER, "odd", {"last_error": ScheduleError(code="gone", message="Gone away.").to_document()}
        )
    listed = shell("schedules", "list")
    assert "last error" in listed.out
    assert "Gone away." in listed.out
    assert shell("schedules", "remove", "odd").code == 0


def test_a_schedule_submits_its_job(shell: Shell) -> None:
    shell(
        "schedules", "add", "often", "--kind", "squares", "--request", '{"items": 1}', "--every", "1", "--user", "cleo"
    )
    wait_until(lambda: shell("jobs", "list", "--user", "cleo", "--json").json["jobs"], what="a job of the schedule")
    assert shell("schedules", "remove", "often").code == 0


@pytest.mark.parametrize(
    ("timing", "code", "words"),
    [
        (("--cron", "now and then"), REFUSED, "cron"),
        (("--cron", "0 2 * * *", "--timezone", "Moon/Base"), REFUSED, "time zone"),
        (("--every", "0"), REFUSED, "interval"),
        ((), USAGE, "--cron"),
        (("--cron", "0 2 * * *", "--every", "5"), USAGE, "--every"),
    ],
)
def test_a_time_that_can_not_be_understood_is_refused(
    shell: Shell, timing: Sequence[str], code: int, words: str
) -> None:
    answer = shell("schedules", "add", "odd", "--kind", "squares", "--request", '{"items": 1}', *timing)
    assert (answer.code, words in answer.line) == (code, True)


def test_an_unknown_schedule_is_refused(shell: Shell) -> None:
    for command in ("pause", "resume", "remove"):
        answer = shell("schedules", command, "nobody")
        assert (answer.code, "nobody" in answer.line) == (REFUSED, True)


# Up


def test_up_runs_a_stack_that_other_commands_find_until_ctrl_c(nowhere: Shell, tmp_path: Path) -> None:
    with start("up", "--data", str(tmp_path / "data"), "--music", str(tmp_path), "--workers", "1", "--port", "0") as up:
        read_until(up.stdout, "Backline is up")
        status = nowhere("status", "--data", str(tmp_path / "data"), "--json")
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
    assert up.returncode == 0
    assert (status.code, status.json["queues"]["cpu"]["slots"]) == (0, 1)
    assert nowhere("status", "--data", str(tmp_path / "data")).code == UNREACHABLE


def test_ctrl_c_while_the_stack_starts_ends_it_with_a_line(nowhere: Shell, tmp_path: Path) -> None:
    with start("up", "--data", str(tmp_path / "data"), "--port", "0") as up:
        read_until(up.stderr, "valkey")
        up.send_signal(signal.SIGINT)
        out, err = up.communicate(timeout=60)
    assert (up.returncode, out) == (INTERRUPTED, "")
    assert err.splitlines()[-1] == "backline: Interrupted."


def test_up_fails_with_a_job_module_that_can_not_be_imported(
    nowhere: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKLINE_JOB_MODULES", "no.such.kinds")
    with start("up", "--data", str(tmp_path / "data"), "--port", "0", "--json") as up:
        out, err = up.communicate(timeout=60)
    failure = json.loads(out.splitlines()[-1])
    assert (up.returncode, failure["event"], failure["code"]) == (1, "failed", "part_misconfigured")
    assert "BACKLINE_JOB_MODULES names 'no.such.kinds'" in failure["message"]
    assert "Traceback" not in err


def test_up_refuses_a_music_folder_that_is_not_there_and_a_stack_that_runs(shell: Shell) -> None:
    missing, second = shell("up", "--music", "/nowhere"), shell("up", "--port", "0")
    assert (missing.code, "/nowhere" in missing.line) == (USAGE, True)
    assert (second.code, "in use" in second.err) == (1, True)
