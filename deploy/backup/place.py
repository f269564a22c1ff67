"""Where a database is that is kept or restored: the one that is set, a running stack's, or that of a stack at rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.backup.errors import NothingToKeep, TargetInUse
from deploy.options import StackOptions
from deploy.running import read_running_stack
from deploy.servers import MongoServer
from deploy.stack import temporary_stack
from shared.keys import KEY_FILE
from shared.model import Db
from shared.settings import Settings
from shared.store.database import connect

TIMEOUT_SECONDS = 600.0
"""For one operation: building an index over a large collection takes long."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An installation's database, and where its own key lies or would lie."""

    db: Db
    key_file: Path | None


@contextmanager
def place_to_keep(settings: Settings) -> Iterator[Place]:
    """Connect to what is to be backed up; a stack at rest has its servers started for that long, and nothing else.

    Raises `NothingToKeep` where there is no stack on the data folder.
    """
    stack = read_running_stack(settings.data_dir)
    with ExitStack() as cleanup:
        if settings.mongodb_uri is None and stack is not None:
            settings = settings.model_copy(update={"mongodb_uri": stack.mongodb_uri, "api_key_file": stack.key_file})
        elif settings.mongodb_uri is None:
            if not (settings.data_dir / MongoServer.NAME).is_dir():
                raise NothingToKeep(f"There is no stack on the data folder {settings.data_dir}.")
            settings = cleanup.enter_context(_servers_alone(settings))
        yield cleanup.enter_context(_connected(settings))


@contextmanager
def place_to_restore(settings: Settings, *, into: str | None) -> Iterator[Place]:
    """Connect to where a backup is restored, under another name perhaps. Raises `TargetInUse` for a running stack."""
    stack = read_running_stack(settings.data_dir)
    with ExitStack() as cleanup:
        if settings.mongodb_uri is None and stack is not None:
            if into is None:
                raise TargetInUse(f"A stack runs on {settings.data_dir}.")
            settings = settings.model_copy(update={"mongodb_uri": stack.mongodb_uri})
        elif settings.mongodb_uri is None:
            settings = cleanup.enter_context(_servers_alone(settings))
        if into is not None:
            settings = settings.model_copy(update={"mongodb_database": into})
        yield cleanup.enter_context(_connected(settings))


@contextmanager
def _servers_alone(settings: Settings) -> Iterator[Settings]:
    options = StackOptions(
        data_dir=settings.data_dir,
        quiet=True,
        key_file=settings.api_key_file,
        parts=lambda addresses: (),
    )
    with temporary_stack(options) as stack:
        yield settings.model_copy(update={"mongodb_uri": stack.mongodb_uri, "api_key_file": stack.key_file})


@contextmanager
def _connected(settings: Settings) -> Iterator[Place]:
    db = connect(settings, timeout_seconds=TIMEOUT_SECONDS, app_name="backline-backup")
    with db.client:
        db.client.admin.command("ping")
        yield Place(db=db, key_file=key_file_of(settings))


def key_file_of(settings: Settings) -> Path:
    """Return where the key of an installation lies that has one in a file."""
    return (settings.api_key_file or settings.data_dir / KEY_FILE).expanduser()
