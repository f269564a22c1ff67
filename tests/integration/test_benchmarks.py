"""The benchmarks work: what they find is nobody's promise here, for a test machine is busy with other things."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from tests.benchmarks.figures import Figure
from tests.machine import ROOT

SECONDS_MAX = 120.0
FIGURES = (
    "submits beside a bare route",
    "submit: rate",
    "submit: p50",
    "submit: p99",
    "bare route: rate",
    "bare route: p50",
    "bare route: p99",
    "Redis memory, large / small backlog",
    "Redis messages, large / small backlog",
    "planner's peak memory, large / small job",
    "counting the large job",
    "CPU a chunk: heavy worker",
    "CPU a chunk: control worker",
    "CPU a chunk: MongoDB server",
    "CPU a chunk: Valkey",
    "fan-out efficiency",
    "fan-out: processor time, bare / Backline",
    "fan-out: share of time at work",
)


def benchmarks(*arguments: str, module: str = "tests.benchmarks") -> tuple[int, str, str]:
    """Run the benchmarks as `make bench` does; return the exit code and what was printed."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            printed, said = process.communicate(timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.terminate()  # not killed: it has servers of its own to end
            printed, said = process.communicate()
    return process.returncode, printed, said


def test_every_figure_is_printed_and_is_a_positive_number() -> None:
    code, printed, said = benchmarks("--short", "--json")

    assert code == 0, said
    result: dict[str, Any] = json.loads(printed)
    figures = {figure["name"]: figure["value"] for figure in result["figures"]}
    assert tuple(figures) == FIGURES
    # the kernel counts in hundredths of a second, which is all that so few chunks cost Valkey
    coarse = {"CPU a chunk: Valkey"}
    wrong = {
        name: value
        for name, value in figures.items()
        if not (math.isfinite(value) and (value > 0 or (value == 0 and name in coarse)))
    }
    assert not wrong
    assert result["machine"]["cores"] >= 1


def test_the_benchmark_of_exports_brings_back_every_document_that_it_sent_out() -> None:
    code, printed, said = benchmarks("export", "--short", "--json")

    assert code == 0, said
    figures = {figure["name"]: figure["value"] for figure in json.loads(printed)["figures"]}
    assert len(figures) == 14
    assert all(math.isfinite(value) and value > 0 for value in figures.values())


def test_the_import_benchmark_makes_a_release_searchable() -> None:
    code, printed, said = benchmarks("import", "--short", "--json")

    assert code == 0, said
    figures = {figure["name"]: figure["value"] for figure in json.loads(printed)["figures"]}
    assert {"release to searchable", "release to searchable beside the published model, bare"} <= figures.keys()
    assert all(math.isfinite(value) and value > 0 for value in figures.values())


def test_the_search_benchmark_finds_what_there_is() -> None:
    code, printed, said = benchmarks("--short", "--json", module="tests.benchmarks.search")

    assert code == 0, said
    figures = {figure["name"]: figure["value"] for figure in json.loads(printed)["figures"]}
    assert len(figures) > 20
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())
    # so few entries are compared one by one, which no load on the machine changes
    assert {value for name, value in figures.items() if "recall" in name} == {1.0}


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    code, _, said = benchmarks("speed")

    assert code == 2
    assert "speed" in said
    for name in ("submits", "backlog", "chunk-cost", "fan-out"):
        assert name in said


@pytest.mark.parametrize(
    ("value", "at_least", "at_most", "is_met"),
    [
        (0.95, 0.95, None, True),
        (0.94, 0.95, None, False),
        (4.0, None, 4.0, True),
        (4.1, None, 4.0, False),
        (1.0, None, None, None),
    ],
)
def test_a_goal_is_met_at_its_bound(
    value: float, at_least: float | None, at_most: float | None, is_met: bool | None
) -> None:
    assert Figure(name="x", value=value, unit="", at_least=at_least, at_most=at_most).is_met is is_met
