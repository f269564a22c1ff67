"""The Celery application as a worker runs it: `celery -A workers.app worker`."""

from __future__ import annotations

from workers import tasks

app = tasks.app

__all__ = ["app"]
