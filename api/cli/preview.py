"""What `backline extract --dry-run` shows: what would be submitted, and what of it can't be found."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from api.cli import output
from api.cli.batches import split
from api.cli.inputs import Entry


def print_preview(entries: Sequence[Entry], *, as_json: bool) -> None:
    """Print the files and ids that would be submitted to standard output, and their numbers beside it."""
    missing = [str(entry) for entry in entries if entry.path is not None and not os.path.exists(entry.path)]
    files = sum(entry.path is not None for entry in entries)
    jobs = sum(1 for _ in split(entries))
    if as_json:
        counts = {"files": files, "ids": len(entries) - files, "jobs": jobs}
        output.print_json({"dryRun": True, **counts, "missing": missing, "items": [str(entry) for entry in entries]})
        return
    for entry in entries:
        sys.stdout.write(f"{output.clean(entry)}\n")
    parts = [output.plural(files, "file"), output.plural(len(entries) - files, "id")]
    output.say(f"Would submit {' and '.join(parts)} in {output.plural(jobs, 'job')}. Nothing was submitted.")
    if missing:
        output.say(f"{output.plural(len(missing), 'file')} can't be found here, such as {output.clean(missing[0])}.")
