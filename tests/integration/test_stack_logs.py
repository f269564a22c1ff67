"""What a whole stack writes about one job, from the request that submitted it to its end."""

from __future__ import annotations

import httpx

from deploy.running import RunningStack
from tests.shell import Shell
from tests.waiting import wait_until


def test_every_line_about_a_job_bears_the_request_that_submitted_it(
    http: httpx.Client, stack: RunningStack, shell: Shell
) -> None:
    request = "shop-7f3a"
    headers = {"X-Request-ID": request, "Prefer": "wait=30"}
    job = http.post("/api/jobs/squares", json={"userId": "ada", "items": 30}, headers=headers, timeout=40).json()
    assert job["status"] == "succeeded"
    http.post("/api/jobs/squares", json={"userId": "ada", "items": 30}, headers={"Prefer": "wait=30"}, timeout=40)

    def lines() -> list[str]:
        return shell("logs", "--job", job["id"]).out.splitlines()

    found = wait_until(lambda: lines() if any("succeeded" in line for line in lines()) else None)

    assert {line.split()[1] for line in found} >= {"heavy", "control"}
    about = f"job={job['id']}"
    assert all(about in line and f"request={request}" in line and "owner=local" in line for line in found)
    assert any("chunk=0" in line for line in found)
    assert shell("logs", "--request", request).out.splitlines() == found
    assert shell("logs", "--job", job["id"], "--last", "1").out.splitlines() == found[-1:]
    assert shell("logs", "--job", "job_of_nobody").code == 1


def test_there_is_no_log_where_no_stack_has_ever_run(nowhere: Shell) -> None:
    shown = nowhere("logs")

    assert shown.code == 2
    assert "There is no log" in shown.err
