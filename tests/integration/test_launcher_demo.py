"""The launcher with Backline's real parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil

from deploy.stack import StackOptions, temporary_stack
from tests.waiting import wait_until

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


def test_flower_shows_both_workers_and_the_tasks(tmp_path: Path) -> None:
    options = StackOptions(data_dir=tmp_path, workers=1, quiet=True, redis_url=None, mongodb_uri=None)
    with (
        temporary_stack(options) as stack,
        httpx.Client(base_url=stack.flower_url, trust_env=False, timeout=10) as flower,
    ):
        port = httpx.URL(stack.url).port

        def workers() -> dict[str, Any] | None:
            try:
                answer = flower.get("/api/workers", params={"refresh": "true"})
            except httpx.TransportError:
                return None  # it is not needed for the rest, so nothing waits for it
            found: dict[str, Any] = answer.json() if answer.status_code == httpx.codes.OK else {}
            return found if len(found) == 2 else None

        shown = wait_until(workers, what="both workers in Flower")
        assert shown is not None
        assert {name.partition("@")[0] for name in shown} == {f"heavy-{port}", f"control-{port}"}
        wait_until(lambda: "backline.reap" in flower.get("/api/tasks").text, what="a task in Flower")
