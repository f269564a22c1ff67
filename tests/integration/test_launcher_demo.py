"""The launcher with Backline's real parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


def test_the_demo_finds_every_tempo_and_key_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100"}
    environment.pop("BACKLINE_JOB_MODULES", None)  # what a newcomer sees has no kinds of the tests
    before = {process.pid for process in psutil.process_iter()}

    demo = subprocess.run(
        [sys.executable, "-m", "deploy.demo"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert re.search(r"succeeded: 12 of 12 tracks agree", demo.stdout)
    assert list(tmp_path.iterdir()) == []
    assert [found for found in psutil.process_iter() if found.pid not in before and _is_of(found, tmp_path)] == []


def _is_of(process: psutil.Process, folder: Path) -> bool:
    try:
        return bool(process.environ().get("TMPDIR") == str(folder))
    except psutil.Error:
        return False
