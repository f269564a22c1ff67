"""`backline restore`: bring back what `backline backup` has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.backup import tell_of
from api.cli.connection import with_data
from api.cli.options import AsJson, Data
from deploy.backup.archive import Archive
from deploy.backup.key import restore_key
from deploy.backup.place import key_file_of, place_to_restore
from deploy.backup.restoring import restore
from shared.errors import ServiceUnavailable
from shared.store.database import StoreError

Source = Annotated[Path, typer.Argument(metavar="DIR|FILE.tar", help="What `backline backup` has made.")]
Into = Annotated[
    str | None, typer.Option("--into", metavar="NAME", help="Restore into a database of this name, beside the present.")
]
Force = Annotated[bool, typer.Option("--force", help="Delete what the database holds, and what it may lack here.")]
Check = Annotated[bool, typer.Option("--check", help="Only read the backup, and say whether it is whole.")]

app = typer.Typer(add_completion=False)


@app.command("restore")
def bring_back(
    source: Source,
    *,
    into: Into = None,
    force: Force = False,
    check: Check = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back into an empty database, compare every document and index, and put references right.

    It writes to MongoDB itself: that of MONGODB_URI, or of a stack at rest, whose server it starts for that long. What
    breaks off goes on when it is called again; until it is done, no worker and no API starts on that database.

    Examples:

      backline restore /backup/2026-11-22 --data ~/restored

      backline restore /backup/2026-11-22.tar --into backline_before
    """
    settings = with_data(data)
    try:
        with Archive(source.expanduser().absolute()).opened() as archive:
            if check:
                manifest, database, notes = archive.check(), None, []
            else:
                manifest = archive.check()
                if into is None and settings.mongodb_uri is None:
                    restore_key(archive, manifest, key_file_of(settings), force=force)
                with place_to_restore(settings, into=into) as place:
                    done = restore(place.db, archive, force=force, tell=(lambda kept: None) if as_json else tell_of)
                manifest, database, notes = done.backup, done.database, done.notes
    except StoreError as error:
        raise ServiceUnavailable(f"MongoDB does not do its part: {type(error).__name__}.") from error
    if as_json:
        counts = {"documents": manifest.documents, "bytes": manifest.bytes}
        output.print_json({"id": manifest.id, "database": database, **counts, "notes": notes})
        return
    for note in notes:
        output.say(output.clean(note))
    counts_in_words = output.plural(manifest.documents, "document")
    what = "whole" if check else f"restored and compared, into the database {database}"
    output.say(output.clean(f"{source}: {counts_in_words}, {what}."))
