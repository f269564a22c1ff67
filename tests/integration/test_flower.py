"""Flower, as the stack starts it."""

from __future__ import annotations

from typing import Any

import httpx

from deploy.parts import FLOWER_USER
from deploy.stack import RunningStack
from tests.waiting import wait_until


def test_flower_shows_both_workers_and_the_tasks(stack: RunningStack) -> None:
    with httpx.Client(base_url=stack.flower_url, auth=(FLOWER_USER, stack.key), trust_env=False, timeout=10) as flower:
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
