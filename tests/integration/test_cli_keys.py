"""Keys and the audit log on the command line, against a stack that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.stack import RunningStack
from shared.keys import parse_key
from tests.environment import variables_set
from tests.shell import Shell
from tests.waiting import wait_until

REFUSED, USAGE = 4, 2


def test_a_key_is_made_used_listed_and_revoked(
    stack: RunningStack, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = shell("keys", "create", "--owner", "anime", "--name", "the tracker", "--expires", "12h")
    key = made.out.strip()
    parsed = parse_key(key)
    assert parsed is not None
    assert "not shown again" in made.err

    elsewhere = {"BACKLINE_URL": stack.url, "BACKLINE_API_KEY": key, "BACKLINE_DATA_DIR": str(tmp_path)}
    with variables_set(monkeypatch, elsewhere):
        job_id = shell.submit(items=1)
        assert job_id in shell("jobs", "list").out
        refused = shell("keys", "list")
        assert refused.code == REFUSED
        assert "scope admin" in refused.line
    assert job_id not in shell("jobs", "list").out, "the stack's own key opens another owner's jobs"

    (listed,) = shell("keys", "list", "--owner", "anime", "--json").json["keys"]
    assert (listed["id"], listed["scopes"]) == (parsed.id, ["jobs:read", "jobs:write", "search"])
    shown = shell("keys", "list").out
    assert "the tracker" in shown
    assert "expires in 12 h" in shown
    assert key not in shown

    assert parsed.id in shell("keys", "revoke", parsed.id).out
    assert "revoked" in shell("keys", "list", "--owner", "anime").out
    with variables_set(monkeypatch, elsewhere):
        wait_until(lambda: shell("jobs", "list").code == REFUSED, what="the refusal")
        assert "BACKLINE_API_KEY" in shell("jobs", "list").line


@pytest.mark.parametrize("words", ["soon", "d", "-1d", "0h", "nand"])
def test_a_time_that_makes_no_sense_is_refused(shell: Shell, words: str) -> None:
    answer = shell("keys", "create", "--expires", words)
    assert answer.code == USAGE
    assert "12h, 90d" in answer.line


def test_an_owner_that_makes_no_sense_is_refused(shell: Shell) -> None:
    answer = shell("keys", "create", "--owner", "Echo Tune")
    assert answer.code == REFUSED
    assert "owner" in answer.line


def test_an_unknown_key_can_not_be_revoked(shell: Shell) -> None:
    assert "key_not_found" not in shell("keys", "revoke", "none").line
    assert "backline keys list" in shell("keys", "revoke", "none").line


def test_the_audit_log_tells_who_did_what(stack: RunningStack, shell: Shell) -> None:
    job_id = shell.submit(items=1)
    wait_until(lambda: job_id in shell("audit", "--since", "1h").out, what="the entry")
    (entry,) = (
        one for one in shell("audit", "--action", "submit_squares", "--json").json["entries"] if one["target"] == job_id
    )
    assert (entry["owner"], entry["outcome"], entry["door"]) == ("local", "ok", "rest")
    assert entry["actor"].startswith("key:")
    assert stack.key not in json.dumps(entry)
    assert "Nothing of that kind" in shell("audit", "--outcome", "no_such_code").err
