"""Parts that are started by hand, or by the launcher, with settings that can't work: one line, and no second try."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from shared.startup import MISCONFIGURED
from tests.machine import ROOT, celery

UVICORN = (sys.executable, "-m", "uvicorn", "api.app:create_app", "--factory", "--port", "0")
SERVER = (sys.executable, "-m", "api.server", "--port", "0")
WORKER = tuple(celery("worker", "-Q", "cpu", "-c", "1"))
SERVERS = {"REDIS_URL": "redis://127.0.0.1:9/0", "MONGODB_URI": "mongodb://127.0.0.1:9/"}
ODD_KINDS = """
import dataclasses
from tests.kinds import SQUARES
KINDS = tuple(dataclasses.replace(SQUARES, name="odd", work=work) for work in WORKS)
"""


def run(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in SERVERS}
    return subprocess.run(
        command, cwd=ROOT, env={**inherited, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("command", [UVICORN, SERVER, WORKER])
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "REDIS_URL and MONGODB_URI must be set"),
        ({"MONGODB_URI": SERVERS["MONGODB_URI"]}, "REDIS_URL must be set"),
        ({**SERVERS, "BACKLINE_JOB_MODULES": "no.such.kinds"}, "BACKLINE_JOB_MODULES names 'no.such.kinds'"),
        ({**SERVERS, "BACKLINE_JOB_MODULES": "tests.waiting"}, "has no KINDS: AttributeError"),
        ({**SERVERS, "BACKLINE_LEASE_SECONDS": "many"}, "BACKLINE_LEASE_SECONDS is wrong"),
    ],
)
def test_a_part_that_can_not_work_says_why_in_one_line(
    command: Sequence[str], environment: Mapping[str, str], words: str
) -> None:
    ended = run(command, environment)
    assert ended.returncode == MISCONFIGURED, ended.stderr
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ("tests.kinds.work", "not written as 'package.module:function'"),
        ("tests.kinds:wrok", "no attribute 'wrok'"),
        ("tests.knids:work", "No module named 'tests.knids'"),
    ],
)
def test_a_worker_refuses_a_kind_whose_work_is_not_there(tmp_path: Path, work: str, words: str) -> None:
    (tmp_path / "odd_kinds.py").write_text(ODD_KINDS.replace("WORKS", repr([work])))
    ended = run(WORKER, {**SERVERS, "BACKLINE_JOB_MODULES": "odd_kinds", "PYTHONPATH": f"{tmp_path}:{ROOT}"})
    refusal = ended.stderr.splitlines()[-1]
    assert ended.returncode == MISCONFIGURED
    assert "The job kind 'odd' can't be worked on" in refusal
    assert words in refusal
    assert "Traceback" not in ended.stderr
