"""The spool: a source unpacked once per machine into a file with an entry in each line.

A line is a label for people, as JSON, a tab, and the entry as JSON. The file appears whole under its name, beside a
small one that says what is in it; whatever is damaged never gets so far.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from workers import spool
from workers.catalogue.errors import DamagedError, SourceError
from workers.catalogue.formats import Form, Reader, form_of, is_object
from workers.catalogue.packing import unpacked

VERSION = 2
"""Part of each file's name; to be raised when the lines change."""

LABEL_MAX = 120
TITLE = re.compile(rb'"title"\s*:\s*"((?:[^"\\]|\\.){1,%d})' % LABEL_MAX)
FIRST_SOURCE = re.compile(rb'"sources"\s*:\s*\[\s*"((?:[^"\\]|\\.){1,%d})' % LABEL_MAX)


@dataclass(frozen=True, kw_only=True)
class Spool:
    """A source that is unpacked."""

    path: Path
    form: Form
    entries: int
    digest: str  # SHA-256 of the entries, whatever they were packed in
    last_update: str | None  # of the release, YYYY-MM-DD


def find(folder: Path, name: str) -> Spool | None:
    """Return the spool of this name, if it is there, and have it kept for another day."""
    path, facts = _paths(folder, name)
    try:
        found = json.loads(facts.read_bytes())
    except (OSError, ValueError):
        return None
    if not spool.is_there(path, facts):
        return None
    return Spool(path=path, **{**found, "form": Form(found["form"])})


def unpack(source: Path, folder: Path, name: str, *, form: Form | None, bytes_max: int) -> Spool:
    """Return the spool of this name, made from `source` where it is not there yet.

    Processes that want the same one wait for the first. Without a `form`, the first entry says it.

    Raises:
        SourceError: nothing can be imported from the source; nothing is left behind.
    """
    with spool.turn(folder, name):
        known = find(folder, name)
        if known is not None:
            return known
        spool.sweep(folder)
        return _write(source, folder, name, form, bytes_max)


def shown_form(source: Path, *, bytes_max: int) -> Form | None:
    """Return what the first entry of a source that can be read says of it; None where none can.

    Raises:
        SourceError: nothing can be imported from the source without its form.
    """
    try:
        with source.open("rb") as file:
            entries = Reader(unpacked(file, bytes_max=bytes_max)).entries()
            return next(filter(None, map(_told_by, entries)), None)
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> SourceError:
    return SourceError(f"The source can't be unpacked: {error.strerror or error}.")


def _write(source: Path, folder: Path, name: str, form: Form | None, bytes_max: int) -> Spool:
    path, facts = _paths(folder, name)
    digest, count = sha256(), 0
    try:
        with source.open("rb") as file, spool.appearing(path) as out:
            reader = Reader(unpacked(file, bytes_max=bytes_max))
            for entry in reader.entries():
                form = form or _told_by(entry)
                count += 1
                digest.update(entry)
                digest.update(b"\n")
                out.write(_label(entry) + b"\t" + entry + b"\n")
            if form is None and count:
                raise DamagedError(f"None of its {count:,} entries can be read.")
        made = Spool(
            path=path,
            form=form or Form.ANIME,
            entries=count,
            digest=digest.hexdigest(),
            last_update=reader.last_update,
        )
        _write_facts(facts, made)
    except OSError as error:
        raise _unreadable(error) from error
    return made


def _told_by(entry: bytes) -> Form | None:
    """Return what an entry says that the source holds; None for one that can't be read. Raises `DamagedError`."""
    form = form_of(entry)
    if form is None and is_object(entry):
        raise DamagedError("The first entry does not say whether the source holds anime or tracks: give its form.")
    return form


def _write_facts(facts: Path, made: Spool) -> None:
    draft = facts.with_suffix(".facts")
    draft.write_text(json.dumps({key: value for key, value in asdict(made).items() if key != "path"}))
    draft.rename(facts)


def _label(entry: bytes) -> bytes:
    """Return what people may know the entry by, as JSON: its title, or its first source."""
    found = TITLE.search(entry) or FIRST_SOURCE.search(entry)
    text = found.group(1) if found else b""
    try:
        whole = (
            text if text.isascii() and b"\\" not in text else json.dumps(json.loads(b'"' + text + b'"')).encode()[1:-1]
        )
    except ValueError:  # cut in the middle of an escape, or no UTF-8
        whole = re.sub(rb"[^\x20-\x7e]|[\"\\]", b"?", text)
    return b'"' + whole + b'"'


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.v{VERSION}.jsonl", folder / f"{name}.v{VERSION}.json"


def read_at(path: Path, offsets: Iterator[int]) -> Iterator[bytes]:
    """Yield the entries in the lines that begin at these offsets."""
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            yield file.readline().partition(b"\t")[2].rstrip(b"\n")
