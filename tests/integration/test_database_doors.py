"""A library is repaired through every door of a stack that runs: the command line, and a client that knows tasks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest

from api.cli.main import run as run_command
from deploy.stack import RunningStack
from shared.model import Db, Json
from shared.store import repairs
from shared.store.database import connect as connect_database
from tests.environment import environment_of
from tests.mcp_client import Door, TaskClient, connect, run
from tests.shell import Shell

USER = "undated"
HASH = re.compile(r"[0-9a-f]{64}")


@pytest.fixture
def library(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Db]:
    """The library of the stack, with one user that has no date."""
    variables = {"MONGODB_URI": stack.mongodb_uri, "REDIS_URL": stack.redis_url}
    with environment_of(monkeypatch, variables) as settings:
        db = connect_database(settings)
        with db.client:
            db["users"].insert_one({"_id": USER, "userId": USER})
            yield db
            db["users"].delete_one({"_id": USER})
            for name in repairs.OWN:
                db[name].delete_many({})


def is_dated(library: Db) -> bool:
    return "createdAt" in (library["users"].find_one({"_id": USER}) or {})


def test_the_command_line_plans_applies_undoes_and_forgets(shell: Shell, library: Db) -> None:
    plan = shell("database", "repair", "--check", "missing_required")
    assert (plan.code, "missing_required" in plan.out, is_dated(library)) == (0, True, False), plan

    applied = shell("database", "repair", "--check", "missing_required", "--apply", "--yes", "--json")
    assert applied.code == 0, applied
    assert (applied.json["summary"]["status"], is_dated(library)) == ("applied", True)

    undone = shell("database", "undo", applied.json["id"], "--json")  # the job that applied it, not the plan
    assert undone.json["summary"]["planId"] == applied.json["summary"]["planId"]
    assert (undone.json["summary"]["status"], is_dated(library)) == ("undone", False)

    summary = applied.json["summary"]
    forgotten = shell("database", "forget", summary["planId"], summary["planHash"], "--json")
    assert forgotten.json["summary"]["status"] == "forgotten"
    assert library[repairs.UNDO].count_documents({"plan": summary["planId"]}) == 0
    assert shell("database", "undo", summary["planId"]).code == 1


def test_the_command_line_asks_before_it_changes_anything(
    shell: Shell, library: Db, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    code = run_command(("database", "repair", "--check", "missing_required", "--apply"))

    assert (code, "Nothing was changed." in capsys.readouterr().err, is_dated(library)) == (1, True, False)
    assert shell("database", "repair", "--apply", "--json").code == 2


def test_a_validation_is_told_and_its_findings_are_a_code(shell: Shell, library: Db) -> None:
    told = shell("database", "validate", "--deep", "--json")

    assert told.code == 1
    assert told.json["summary"]["total_issues"] >= 1


def approving(request: Json) -> Json:
    """Approve a plan with the hash that its question names."""
    found = HASH.search(request["params"]["message"])
    assert found is not None
    return {"action": "accept", "content": {"planHash": found.group()}}


@pytest.mark.parametrize(
    ("answer", "status", "is_done"),
    [(approving, "succeeded", True), ({"action": "decline"}, "partial", False)],
    ids=["approved", "declined"],
)
def test_a_client_that_knows_tasks_is_asked_and_its_answer_counts(
    stack: RunningStack, library: Db, answer: object, status: str, *, is_done: bool
) -> None:
    async def steps() -> Json:
        tasks = TaskClient(answer)  # type: ignore[arg-type]  # parametrize knows no types
        async with connect(Door(stack.url, stack.key), extensions=[tasks]) as client:
            result = await client.call_tool("repair_database", {"checks": ["missing_required"], "apply": True})
            assert len(tasks.asked) == 1, tasks.asked
            assert "Approve the 1 changes" in tasks.asked[0]
            found: Json = result.structured_content or {}
            return found

    assert run(steps)["status"] == status
    assert is_dated(library) is is_done
