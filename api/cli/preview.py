"""What `backline extract --dry-run` shows: what would be submitted, and what of it can't be found."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from api.cli import output
from api.cli.batches import split
from api.cli.failures import HINTS
from api.cli.inputs import Entry
from shared.paths import is_inside


def print_preview(entries: Sequence[Entry], *, roots: Sequence[Path] | None, as_json: bool) -> None:
    """Print the files and ids that would be submitted to standard output, and their numbers beside it.

    `roots` are the folders that the running stack may read; None where none runs, or where they aren't known.
    """
    missing = [str(entry) for entry in entries if entry.path is not None and not os.path.exists(entry.path)]
    refused = [str(entry) for entry in entries if roots is not None and _is_outside(entry, roots)]
    files = sum(entry.path is not None for entry in entries)
    jobs = sum(1 for _ in split(entries))
    if as_json:
        counts = {"files": files, "ids": len(entries) - files, "jobs": jobs}
        found = {"missing": missing, "outsideRoots": refused, "items": [str(entry) for entry in entries]}
        output.print_json({"dryRun": True, **counts, **found})
        return
    if not entries:
        output.say("There is no audio file in what was named, so there is nothing to submit.")
        return
    for entry in entries:
        sys.stdout.write(f"{output.clean(entry)}\n")
    parts = [output.plural(files, "file"), output.plural(len(entries) - files, "id")]
    output.say(f"Would submit {' and '.join(parts)} in {output.plural(jobs, 'job')}. Nothing was submitted.")
    if missing:
        output.say(f"{output.plural(len(missing), 'file')} can't be found here, such as {output.clean(missing[0])}.")
    if refused:
        count, example = output.plural(len(refused), "file"), output.clean(refused[0])
        output.say(f"{count} would be refused, such as {example}: {HINTS['outside_roots']}")


def _is_outside(entry: Entry, roots: Sequence[Path]) -> bool:
    return entry.path is not None and not is_inside(os.path.realpath(entry.path), roots)
