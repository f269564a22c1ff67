"""The Celery application as a worker runs it: `celery -A workers.app worker`."""

from __future__ import annotations

from importlib import import_module

from celery import Celery

from shared.jobs import known_kinds
from shared.settings import settings_with_servers
from shared.startup import refused_in_one_line
from workers.monitoring import BatchedEvents


def _load() -> Celery:
    with refused_in_one_line():
        settings_with_servers()
        known_kinds()
    application = import_module("workers.tasks").app  # only now: it reads the settings
    application.steps["consumer"].add(BatchedEvents)
    return application


app = _load()
