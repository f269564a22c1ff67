"""Let this process speak to a test's own servers for a while, and to nobody's afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from shared import broker
from shared.settings import Settings, get_settings


@contextmanager
def environment_of(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> Iterator[Settings]:
    """Set environment variables, and have settings and broker read anew, before and after."""
    with monkeypatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        _forget()
        yield get_settings()
    _forget()


def _forget() -> None:
    if broker.celery_app.cache_info().currsize:
        broker.celery_app().close()
    get_settings.cache_clear()
    broker.celery_app.cache_clear()
