"""Let this process speak to a test's own servers for a while, and to nobody's afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import kombu.pools
import pytest

from shared import broker
from shared.jobs import known_kinds
from shared.settings import Settings, get_settings


@contextmanager
def variables_set(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables, or take away those that are None; settings and broker are read anew, before and after.

    Blocks may lie in one another; each undoes what it did itself, however it ends.
    """
    try:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                if value is None:
                    patch.delenv(name, raising=False)
                else:
                    patch.setenv(name, value)
            _forget()
            yield
    finally:
        _forget()


@contextmanager
def environment_of(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str | None]) -> Iterator[Settings]:
    """Do the same, and yield the settings that come of it."""
    with variables_set(monkeypatch, variables):
        yield get_settings()


def _forget() -> None:
    if broker.celery_app.cache_info().currsize:
        broker.celery_app().close()
        kombu.pools.reset()  # Celery leaves its connections open in kombu's pools
    get_settings.cache_clear()
    broker.celery_app.cache_clear()
    known_kinds.cache_clear()
