"""A stack on one machine is kept by copying its data folder while it stands still."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx

from deploy.stack import StackOptions, temporary_stack
from tests.api_server import bearer


def options(folder: Path) -> StackOptions:
    return StackOptions(data_dir=folder, workers=1, quiet=True, environment={"BACKLINE_JOB_MODULES": "tests.kinds"})


def test_a_copy_of_the_data_folder_is_the_same_stack_with_the_same_key(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    with temporary_stack(options(original)) as stack:
        key = stack.key
        with httpx.Client(base_url=stack.url, headers=bearer(key), trust_env=False, timeout=40) as http:
            request = {"userId": "ada", "items": 5, "fails": [2]}
            job = http.post("/api/jobs/squares", json=request, headers={"Prefer": "wait=30"}).json()
            items = http.get(f"/api/jobs/{job['id']}/items").json()["items"]
            assert job["status"] == "partial"

    shutil.copytree(original, copy)
    shutil.rmtree(original)

    with temporary_stack(options(copy)) as restored:
        assert restored.key == key
        with httpx.Client(base_url=restored.url, headers=bearer(key), trust_env=False, timeout=40) as http:
            assert http.get(f"/api/jobs/{job['id']}").json()["progress"] == job["progress"]
            assert http.get(f"/api/jobs/{job['id']}/items").json()["items"] == items
            again = http.post("/api/jobs/squares", json=request, headers={"Prefer": "wait=30"}).json()
            assert again["status"] == "partial"
