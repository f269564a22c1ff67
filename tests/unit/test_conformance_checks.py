"""How a run of the conformance suite is compared with what may fail, and what counts as no run at all."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conformance.checks import Check, Expectation, Outcome, Status, judge
from tests.conformance.expected import EXPECTED
from tests.conformance.suite import run_suite

MAY_FAIL = Expectation(run="a", scenarios=frozenset({"asks"}), reason="it can't ask")

SUITE = """#!{python}
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
for name, statuses in json.loads({plan!r}).items():
    print(f"=== Running scenario: {{name}} ===")
    if statuses:
        own = folder / f"server-{{name}}-2026-11-21T10-00-00-000Z"
        own.mkdir()
        own.joinpath("checks.json").write_text(json.dumps([{{"id": "check", "status": one}} for one in statuses]))
print({end!r})
"""
"""Stands for a suite that breaks off or loses its files, which the real one does not on demand."""


def outcome(run: str, **statuses: Sequence[Status]) -> Outcome:
    checks = [Check(scenario=name, name="check", status=one) for name, found in statuses.items() for one in found]
    return Outcome(run=run, checks=checks)


@pytest.mark.parametrize(
    ("found", "unexpected", "mended"),
    [
        (outcome("a", reads=[Status.SUCCESS], asks=[Status.FAILURE]), [], []),
        (outcome("a", reads=[Status.SUCCESS, Status.FAILURE], asks=[Status.FAILURE]), ["reads"], []),
        (outcome("a", reads=[Status.WARNING, Status.SKIPPED], asks=[Status.SUCCESS]), [], ["asks"]),
        (outcome("b", asks=[Status.FAILURE]), ["asks"], []),
    ],
)
def test_only_what_is_expected_of_this_run_may_fail(
    found: Outcome, unexpected: Sequence[str], mended: Sequence[str]
) -> None:
    verdict = judge(found, [MAY_FAIL])
    assert (verdict.unexpected, verdict.mended) == (unexpected, mended)


def test_every_expectation_has_its_reason() -> None:
    assert all(len(one.reason) > 40 and one.scenarios for one in EXPECTED)
    assert not any(name.startswith("tasks-") for one in EXPECTED for name in one.scenarios)


@pytest.mark.parametrize(
    ("plan", "end", "failed"),
    [
        ({"ping": ["SUCCESS"], "asks": ["FAILURE", "INFO"]}, "=== SUMMARY ===", ["asks"]),
        ({"ping": ["SUCCESS"], "asks": []}, "=== SUMMARY ===", ["asks"]),
        ({"ping": ["SUCCESS"]}, "out of memory", ["the suite itself"]),
        ({}, "=== SUMMARY ===", ["the suite itself"]),
    ],
)
def test_a_suite_that_breaks_off_has_not_passed(
    tmp_path: Path, plan: dict[str, list[str]], end: str, failed: Sequence[str]
) -> None:
    program = tmp_path / "bin" / "conformance"
    program.parent.mkdir()
    program.write_text(SUITE.format(python=sys.executable, plan=json.dumps(plan), end=end))
    program.chmod(0o755)
    results = tmp_path / "results"
    results.mkdir()
    environment = {"PATH": os.pathsep.join([str(program.parent), os.environ["PATH"]])}
    found = run_suite("a", "http://127.0.0.1:1", "2026-07-28", results, environment)
    assert found.failed == failed
