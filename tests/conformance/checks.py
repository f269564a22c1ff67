"""What a run of the suite or the inspector has found, and how it compares with what is expected to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check has ended, in the suite's own words."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    WARNING = "WARNING"  # something recommended is missing
    SKIPPED = "SKIPPED"  # not applicable to this server
    INFO = "INFO"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    scenario: str
    name: str
    status: Status
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All checks of one run."""

    run: str
    checks: Sequence[Check]

    @property
    def scenarios(self) -> Mapping[str, Sequence[Check]]:
        """The checks by their scenarios, in the order of the run."""
        found: dict[str, list[Check]] = {}
        for check in self.checks:
            found.setdefault(check.scenario, []).append(check)
        return found

    @property
    def failed(self) -> Sequence[str]:
        """The scenarios of which something failed."""
        return [name for name, checks in self.scenarios.items() if any(one.status is Status.FAILURE for one in checks)]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Scenarios that fail in one run, and why they may."""

    run: str
    scenarios: frozenset[str]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a run compares with what was expected of it."""

    run: str
    unexpected: Sequence[str]  # scenarios that fail and should not
    mended: Sequence[str]  # scenarios that were expected to fail and don't


def judge(outcome: Outcome, expected: Sequence[Expectation]) -> Verdict:
    """Compare an outcome with what is expected of its run."""
    may_fail = {name for one in expected if one.run == outcome.run for name in one.scenarios}
    return Verdict(
        run=outcome.run,
        unexpected=[name for name in outcome.failed if name not in may_fail],
        mended=sorted(may_fail - set(outcome.failed)),
    )
