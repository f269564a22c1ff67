"""A whole Backline in one thread: doorbells are answered in the order in which they ring, and the reaper walks by."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from shared import broker
from shared.broker import Queue
from shared.store.database import StoreError
from shared.store.job_record import JobRecord
from tests.integration.engine import Engine
from tests.waiting import wait_until
from workers.engine import reaping
from workers.engine.finishing import finish
from workers.engine.planning import plan
from workers.engine.reaping import reap
from workers.engine.running import run


class Simulation:
    """Answers what an engine rings for. An answer that fails is lost, as it is with real workers."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = engine
        self.lost: list[BaseException] = []
        self._rung: deque[tuple[Queue, Callable[[], None]]] = deque()
        monkeypatch.setattr(broker, "ring_plan", self._ring_plan)
        monkeypatch.setattr(broker, "ring_run", self._ring_run)
        monkeypatch.setattr(broker, "ring_finish", self._ring_finish)
        monkeypatch.setattr(reaping, "waiting_rings", self.waiting)

    def waiting(self, queue: Queue) -> int:
        """Return how many doorbells wait in `queue`."""
        return sum(1 for waiting, _ in self._rung if waiting is queue)

    def _ring_plan(self, job_ids: Sequence[str], *, is_counting: bool = False) -> None:
        process, heartbeat = self.engine.process, self.engine.heartbeat
        for job_id in job_ids:
            answer = partial(plan, job_id, process, heartbeat, is_counting=is_counting)
            self._rung.append((Queue.CONTROL, answer))

    def _ring_run(self, queue: Queue, times: int) -> None:
        for _ in range(times):
            self._rung.append((queue, lambda: run(queue, self.engine.process, self.engine.heartbeat)))

    def _ring_finish(self, job_id: str) -> None:
        self._rung.append((Queue.CONTROL, lambda: finish(job_id, self.engine.process)))

    def lose_everything(self) -> None:
        """Forget every doorbell, as a flushed Redis does."""
        self._rung.clear()

    def answer(self) -> None:
        """Answer what rings, until it is quiet."""
        while self._rung:
            _, doorbell = self._rung.popleft()
            try:
                doorbell()
            except (RuntimeError, StoreError, AttributeError) as error:
                self.lost.append(error)

    def run_until_end(self, job_id: str) -> JobRecord:
        """Let the reaper walk by and answer until the job has ended."""

        def ended() -> JobRecord | None:
            self.answer()
            job = self.engine.job(job_id)
            if job.status.is_final:
                return job
            reap(self.engine.process)
            return None

        return wait_until(ended, what=f"the end of {job_id}")
