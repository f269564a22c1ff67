"""The protocol's own conformance suite, run against an address."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.conformance.checks import Check, Outcome, Status

SECONDS_MAX = 600
ANNOUNCED = re.compile(r"^=== Running scenario: (\S+) ===$", re.MULTILINE)
ENDED = "=== SUMMARY ==="


def run_suite(name: str, url: str, requirements: str, folder: Path, environment: Mapping[str, str]) -> Outcome:
    """Return what the suite finds at `url` with the requirements of a version; its files stay in `folder`."""
    command = ["conformance", "server", "--url", f"{url}/mcp", "--requirements", requirements, "-o", str(folder)]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    scenarios = ANNOUNCED.findall(done.stdout)
    checks = [check for scenario in scenarios for check in _checks(folder, scenario)]
    if ENDED not in done.stdout or not scenarios:
        checks.append(_broken("the suite itself", f"It broke off: {done.stderr.strip()[-500:]}"))
    return Outcome(run=name, checks=checks)


def _checks(folder: Path, scenario: str) -> Sequence[Check]:
    """Return the checks of a scenario; one that left none behind has failed."""
    found = [check for path in _files(folder, scenario) for check in _read(path, scenario)]
    return found or [_broken(scenario, "The scenario left no checks behind.")]


def _files(folder: Path, scenario: str) -> Iterator[Path]:
    # A scenario's folder ends in the time of its run.
    timed = re.compile(rf"server-{re.escape(scenario)}-\d{{4}}-\d\d-\d\dT")
    return (path for path in folder.glob("*/checks.json") if timed.match(path.parent.name))


def _read(path: Path, scenario: str) -> Iterator[Check]:
    for one in json.loads(path.read_text()):
        message = str(one.get("errorMessage") or "")
        yield Check(scenario=scenario, name=one["id"], status=Status(one["status"]), message=message)


def _broken(scenario: str, message: str) -> Check:
    return Check(scenario=scenario, name=scenario, status=Status.FAILURE, message=message)
