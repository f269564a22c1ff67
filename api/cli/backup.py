"""`backline backup`: keep everything that MongoDB holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.cli import output
from api.cli.connection import with_data
from api.cli.options import AsJson, Data
from deploy.backup.manifest import KeptCollection
from deploy.backup.place import place_to_keep
from deploy.backup.taking import take
from shared.errors import ServiceUnavailable
from shared.store.database import StoreError

Target = Annotated[
    Path, typer.Argument(metavar="DIR|FILE.tar", help="A folder to be made, or a file whose name ends in .tar.")
]

app = typer.Typer(add_completion=False)


@app.command("backup")
def back_up(target: Target, *, data: Data = None, as_json: AsJson = False) -> None:
    """Keep the databases of all owners, with artifacts, keys and jobs; also while jobs run, and nothing waits for it.

    It reads MongoDB itself: that of MONGODB_URI, of the stack that runs on the data folder, or of one at rest, whose
    server it starts for that long. What breaks off goes on when it is called again with the same name.

    Examples:

      backline backup /backup/2026-11-22

      backline backup /backup/2026-11-22.tar --data ~/.local/share/backline
    """
    tell = (lambda kept: None) if as_json else tell_of
    try:
        with place_to_keep(with_data(data)) as place:
            manifest = take(place.db, target.expanduser().absolute(), key_file=place.key_file, tell=tell)
    except StoreError as error:
        raise ServiceUnavailable(f"MongoDB does not do its part: {type(error).__name__}.") from error
    if as_json:
        output.print_json(
            {
                **manifest.model_dump(mode="json", by_alias=True, exclude={"collections"}),
                "path": str(target.expanduser().absolute()),
                "documents": manifest.documents,
                "bytes": manifest.bytes,
                "collections": len(manifest.collections),
            }
        )
    else:
        counts = f"{output.plural(manifest.documents, 'document')}, {manifest.bytes:,} bytes"
        output.say(f"{output.clean(target)}: {counts}. It holds the keys of all: keep it as you keep the original.")


def tell_of(kept: KeptCollection) -> None:
    """Say that a collection is done."""
    owner = f"{kept.owner}: " if kept.owner else ""
    output.say(f"{output.clean(f'{owner}{kept.name}')}, {output.plural(kept.documents, 'document')}")
