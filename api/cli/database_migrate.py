"""`backline database migrate`: bring the documents to the schema of this version."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.connection import with_data
from api.cli.options import AsJson, Data
from deploy.running import read_running_stack
from shared.errors import ServiceUnavailable
from shared.migrations.runner import Step, migrate
from shared.settings import Settings
from shared.store import migrations
from shared.store.database import StoreError, connect

TIMEOUT_SECONDS = 3600.0
"""A single change of a large collection may take long."""

To = Annotated[int | None, typer.Option("--to", min=1, metavar="N", help="Up to this migration; else all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count what would be changed.")]


def migrate_database(*, to: To = None, dry_run: DryRun = False, data: Data = None, as_json: AsJson = False) -> None:
    """Bring every owner's documents to the schema of this version.

    It speaks to MongoDB itself: to MONGODB_URI, or to the stack that runs on the data folder. An interrupted run is
    gone on with by the next; two at once are impossible.

    Example: backline database migrate --dry-run
    """
    tell = None if as_json else _tell
    db = connect(_settings(data), timeout_seconds=TIMEOUT_SECONDS, app_name="backline-migrate")
    with db.client:
        try:
            db.client.admin.command("ping", maxTimeMS=5000)
            steps = migrate(db, to=to, dry_run=dry_run, tell=tell or (lambda step: None))
            version = migrations.version(db)
        except StoreError as error:
            raise ServiceUnavailable(f"MongoDB does not do its part: {type(error).__name__}.") from error
    if as_json:
        output.print_json({"version": version, "dryRun": dry_run, "steps": [asdict(step) for step in steps]})
    elif not steps:
        output.say(f"The database is at migration {version}: nothing to do.")
    else:
        output.say(f"The database is at migration {version}{', as before' if dry_run else ''}.")


def _settings(data: Path | None) -> Settings:
    settings = with_data(data)
    if settings.mongodb_uri is not None:
        return settings
    stack = read_running_stack(settings.data_dir)
    return settings if stack is None else settings.model_copy(update={"mongodb_uri": stack.mongodb_uri})


def _tell(step: Step) -> None:
    count = output.plural(step.documents, "document")
    output.say(f"{step.number} {output.clean(step.title)}: {output.clean(step.database)}, {count}")
