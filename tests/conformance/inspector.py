"""The inspector's command line as a client: it lists the tools and calls some, in both eras of the protocol."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shared.model import Json
from tests.conformance.checks import Check, Outcome, Status

SECONDS_MAX = 60
RUN = "inspector"
ERAS = ("modern", "legacy")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call of the command line, and what its result must be."""

    name: str
    method: str
    arguments: Sequence[str] = ()
    is_right: Callable[[Json], bool]
    eras: Sequence[str] = ERAS
    exit_code: int = 0


def _call(tool: str, **arguments: object) -> Sequence[str]:
    return ("--tool-name", tool, "--tool-args-json", json.dumps(arguments))


def _status(result: Json) -> object:
    return result["structuredContent"]["status"]


STEPS = (
    Step(
        name="lists the tools, with schemas that every client can read",
        method="tools/list",
        arguments=("--strict",),
        is_right=lambda result: {"greet", "slow_compute", "wait_for_job"} <= {one["name"] for one in result["tools"]},
    ),
    Step(
        name="calls a tool that answers at once",
        method="tools/call",
        arguments=_call("greet", name="World"),
        is_right=lambda result: bool(result["content"][0]["text"] == "Hello, World!"),
    ),
    Step(
        name="submits a job and follows it as a task to its end",
        method="tools/call",
        arguments=_call("slow_compute", seconds=1),
        is_right=lambda result: _status(result) == "succeeded",
        eras=("modern",),
    ),
    Step(
        name="submits a job and gets its id",
        method="tools/call",
        arguments=_call("slow_compute", seconds=1),
        is_right=lambda result: _status(result) == "queued",
        eras=("legacy",),
    ),
    Step(
        name="lists the jobs",
        method="tools/call",
        arguments=_call("list_jobs", kind="slow"),
        is_right=lambda result: bool(result["structuredContent"]["jobs"]),
    ),
    Step(
        name="is told why a tool failed",
        method="tools/call",
        arguments=_call("get_job", jobId="job_nowhere"),
        is_right=lambda result: result["isError"] and "job_not_found" in result["content"][0]["text"],
        exit_code=5,  # what the inspector ends with then
    ),
)


def run_inspector(url: str, environment: Mapping[str, str]) -> Outcome:
    """Return what the inspector finds at `url`."""
    checks = [_check(step, era, url, environment) for era in ERAS for step in STEPS if era in step.eras]
    return Outcome(run=RUN, checks=checks)


def _check(step: Step, era: str, url: str, environment: Mapping[str, str]) -> Check:
    command = ["mcp-inspector", "--cli", f"{url}/mcp", "--transport", "http", "--protocol-era", era]
    command += ["--format", "json", "--method", step.method, *step.arguments]
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
    is_right = done.returncode == step.exit_code and _is_right(step, done.stdout)
    return Check(
        scenario=f"{step.name} ({era})",
        name=step.method,
        status=Status.SUCCESS if is_right else Status.FAILURE,
        message="" if is_right else f"It ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}",
    )


def _is_right(step: Step, output: str) -> bool:
    try:
        return step.is_right(json.loads(output)["result"])
    except (ValueError, LookupError, TypeError):
        return False
