"""Is the MCP door what the protocol says? ``make conformance`` asks the protocol's own suite and the inspector.

Ends with 0 if nothing fails but what `tests.conformance.expected` names with its reason.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich import box
from rich.console import Console
from rich.table import Table

from tests.conformance import packages
from tests.conformance.checks import Outcome, Status, Verdict, judge
from tests.conformance.expected import EXPECTED, LEGACY, MODERN, SESSIONS
from tests.conformance.inspector import run_inspector
from tests.conformance.stage import machine_in, serving
from tests.conformance.suite import run_suite

SHOWN = (Status.SUCCESS, Status.FAILURE, Status.WARNING, Status.SKIPPED)


def outcomes(folder: Path) -> Iterator[Outcome]:
    """Start everything, and yield what each run finds."""
    environment = packages.environment(folder)

    def suite(name: str, url: str, requirements: str) -> Outcome:
        own = folder / name
        own.mkdir()
        return run_suite(name, url, requirements, own, environment)

    with machine_in(folder) as machine, serving(machine, folder, "create") as url:
        yield suite(MODERN, url, MODERN)
        yield suite(LEGACY, url, LEGACY)
        yield run_inspector(url, environment)
        with serving(machine, folder, "create_with_sessions") as other:
            yield suite(SESSIONS, other, LEGACY)


def table_of(outcome: Outcome) -> Table:
    """Return a row per scenario."""
    table = Table(title=outcome.run, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Scenario")
    for heading in ("passed", "failed", "warned", "skipped"):
        table.add_column(heading, justify="right")
    for name, checks in outcome.scenarios.items():
        counts = Counter(check.status for check in checks)
        table.add_row(name, *(str(counts[status] or "") for status in SHOWN))
    totals = Counter(check.status for check in outcome.checks)
    table.add_section()
    table.add_row(f"{len(outcome.scenarios)} scenarios", *(str(totals[status]) for status in SHOWN))
    return table


def explain(outcome: Outcome, verdict: Verdict, console: Console) -> None:
    """Say what went wrong, what was expected to, and what no longer does."""
    for name in verdict.unexpected:
        for check in outcome.scenarios[name]:
            if check.status is Status.FAILURE:
                console.print(f"FAILED {name}: {check.name}: {check.message}", markup=False)
    for one in EXPECTED:
        if one.run == outcome.run:
            console.print(f"Expected to fail: {', '.join(sorted(one.scenarios))}. {one.reason}", markup=False)
    for name in verdict.mended:
        console.print(f"{name} was expected to fail and does not: take it out of tests/conformance/expected.py.")


def report(found: Iterator[Outcome], console: Console) -> Sequence[Verdict]:
    """Show each outcome as it comes in, and return how all compare with what was expected."""
    verdicts = []
    for outcome in found:
        verdict = judge(outcome, EXPECTED)
        console.print(table_of(outcome))
        explain(outcome, verdict, console)
        console.print()
        verdicts.append(verdict)
    return verdicts


def main() -> int:
    """Run it all and return the exit code for the shell."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    begun = time.monotonic()
    try:
        packages.install()
    except packages.NotInstalled as error:
        console.print(f"conformance: nothing was checked. {error}", markup=False)
        return 2
    with TemporaryDirectory(prefix="backline-conformance-") as name:
        verdicts = report(outcomes(Path(name).resolve()), console)
    unexpected = sum(len(verdict.unexpected) for verdict in verdicts)
    answer = "Nothing failed that should not." if not unexpected else f"{unexpected} scenarios failed that should not."
    console.print(f"{answer} {time.monotonic() - begun:.0f} s in all.")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
