"""The Celery application as a worker runs it: `celery -A workers.app worker`."""

from __future__ import annotations

from workers import tasks
from workers.monitoring import BatchedEvents

app = tasks.app
app.steps["consumer"].add(BatchedEvents)

__all__ = ["app"]
