"""How a process that can't start as it is set up says so: one line, and an exit status that a launcher knows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from shared.errors import BacklineError
from shared.migrations import LATEST
from shared.settings import Settings
from shared.store import migrations, restoring
from shared.store.database import StoreError, connect

CHECK_SECONDS = 2.0
MISCONFIGURED = 78
"""The exit status of a process that would fail again however often it is started (EX_CONFIG of sysexits.h)."""


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """End the process with a line, in place of a traceback, where the block raises an error of ours."""
    try:
        yield
    except BacklineError as error:
        sys.stderr.write(f"backline: {error.message} {error.advice}\n")
        raise SystemExit(MISCONFIGURED) from None


def refuse_newer_database(settings: Settings) -> None:
    """Raise `DatabaseTooNew` or `RestoreUnfinished` for a database that is not to be used; one that is down is looked
    at later.
    """
    if settings.mongodb_uri is None:
        return
    db = connect(settings, timeout_seconds=CHECK_SECONDS, app_name="backline-start")
    with db.client, suppress(StoreError):
        migrations.check_version(db, LATEST)
        restoring.refuse_unfinished(db)
