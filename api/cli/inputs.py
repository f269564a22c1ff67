"""From the arguments of `backline extract` to the files, folders and ids that they mean."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from api.cli.errors import WrongInput
from shared.jobs.audio_features import EXTENSIONS, walk_audio
from shared.paths import SCHEME, from_text, to_text

LIST_EXTENSIONS = frozenset((".csv", ".json", ".jsonl", ".list", ".lst", ".m3u", ".m3u8", ".tsv", ".txt"))
TABLE_EXTENSIONS = {".csv": ",", ".tsv": "\t"}
LINKS_SECONDS = 1.0  # how long folders are looked through only to mention links
LOOKS_LIKE_JSON = re.compile(rb'\s*(\{|\[\s*["{\]])')
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing to work on: a file or folder, a track whose file is known, or a file under a track's id."""

    path: bytes | None = None  # absolute
    track_id: str | None = None

    def __str__(self) -> str:
        """Return the text that stands for this entry in lists and messages."""
        place = "" if self.path is None else to_text(self.path)
        return " ".join(part for part in (self.track_id, place) if part)


def read_arguments(
    arguments: Sequence[str], lists: Sequence[Path], stdin: BinaryIO, *, must_exist: bool
) -> list[Entry]:
    """Return what the arguments mean, in their order, and then what the lists hold; ``-`` is a list on `stdin`.

    With `must_exist`, an argument that is no file or folder here is a mistake rather than a place that only the
    workers know. Raises `WrongInput`.
    """
    entries: list[Entry] = []
    for argument in arguments:
        entries.extend(_read_argument(argument, stdin, must_exist=must_exist))
    for path in map(os.fsencode, lists):
        entries.extend(parse_list(_read(path), name=to_text(path), folder=os.path.dirname(os.path.abspath(path))))
    if not entries:
        raise WrongInput("The list holds no path and no id.", hint="Write one path or id per line.")
    return entries


def _read_argument(argument: str, stdin: BinaryIO, *, must_exist: bool) -> list[Entry]:
    if not argument:
        raise WrongInput("A PATH is empty.", hint="Write . for the current folder.")
    if argument == "-":
        return parse_list(stdin.read(), name="standard input", folder=os.getcwdb())
    path = os.path.abspath(from_text(argument) if argument.startswith(SCHEME) else os.fsencode(argument))
    if os.path.isfile(path) and _extension(path) in LIST_EXTENSIONS:
        return parse_list(_read(path), name=to_text(path), folder=os.path.dirname(path))
    if must_exist and not os.path.exists(path):
        raise WrongInput(
            f"There is no file or folder {to_text(path)}.",
            hint="Check the name; ids of tracks go into a list: `echo ID | backline extract -`.",
        )
    return [Entry(path=path)]


def _extension(path: bytes) -> str:
    return os.path.splitext(path)[1].decode("ascii", "replace").lower()


def _read(path: bytes) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise WrongInput(f"{to_text(path)} can't be read: {error.strerror}.", hint="Check the file's rights.") from None


def parse_list(content: bytes, *, name: str, folder: bytes) -> list[Entry]:
    """Read a list of paths and ids: JSON, JSON Lines, a table, or a line each with ``#`` comments.

    A relative path is looked for in the current folder, and then in `folder`, where the list lies.
    Raises `WrongInput`, which calls the list `name`.
    """
    content = content.removeprefix(BOM)
    extension = _extension(name.encode())
    if extension == ".jsonl":
        return [
            entry for line in content.splitlines() if line.strip() for entry in _parse_json_line(line, name, folder)
        ]
    if extension in TABLE_EXTENSIONS:
        return _parse_table(content, name, folder, TABLE_EXTENSIONS[extension])
    if extension == ".json" or LOOKS_LIKE_JSON.match(content):
        return _parse_json(content, name, folder)
    if b"\0" in content:
        raise WrongInput(f"{name} is no list: it holds zero bytes.", hint="Write one path or id per line, in UTF-8.")
    lines = (line.strip() for line in content.splitlines())
    return [to_entry(line, folder) for line in lines if line and not line.startswith(b"#")]


def _parse_json_line(line: bytes, name: str, folder: bytes) -> list[Entry]:
    return _parse_json(b"[" + line + b"]", name, folder)


def _parse_table(content: bytes, name: str, folder: bytes, separator: str) -> list[Entry]:
    """Read the columns `path` and `trackId` (one is enough) of a table, or its first where it has no heading."""
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode(), newline=""), delimiter=separator) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise WrongInput(
            f"{name} is no table in UTF-8: {error}.", hint="Write a list, one path or id a line."
        ) from None
    heading = rows[0] if rows else []
    places = {column: heading.index(column) for column in ("path", "trackId", "track_id") if column in heading}
    if not places:
        return [to_entry(row[0].encode(), folder) for row in rows if row[0]]
    found = ({column: row[at] for column, at in places.items() if at < len(row) and row[at]} for row in rows[1:])
    return [_from_object(values, folder) for values in found if values]


def _parse_json(content: bytes, name: str, folder: bytes) -> list[Entry]:
    hint = 'Write a list of paths or ids, {"paths": [...]}, {"track_ids": [...]} or {"tracks": [...]}.'
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise WrongInput(f"{name} holds no valid JSON: {error}.", hint=hint) from None
    try:
        return list(_from_json(value, folder))
    except (TypeError, KeyError, UnicodeEncodeError):
        raise WrongInput(f"{name} does not hold a list of paths or ids.", hint=hint) from None


def _from_json(value: Any, folder: bytes) -> Iterator[Entry]:
    """Yield the entries of a parsed document. Raises `TypeError` or `KeyError` where it has another form."""
    if isinstance(value, list):
        for one in value:
            yield _from_object(one, folder) if isinstance(one, dict) else to_entry(_text(one).encode(), folder)
        return
    known = {"paths", "track_ids", "trackIds", "tracks"} & set(value)
    if not known:
        raise KeyError("paths")
    for one in value.get("tracks", ()):
        yield _from_object(one, folder)
    for one in (*value.get("track_ids", ()), *value.get("trackIds", ())):
        yield Entry(track_id=_id(one))
    for one in value.get("paths", ()):
        yield Entry(path=_absolute(from_text(_text(one)), folder))


def _from_object(value: Any, folder: bytes) -> Entry:
    track_id = value.get("trackId", value.get("track_id"))
    path = value.get("path")
    if track_id is None and path is None:
        raise KeyError("trackId")
    return Entry(
        path=None if path is None else _absolute(from_text(_text(path)), folder),
        track_id=None if track_id is None else _id(track_id),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not a text")
    return value


def _id(value: Any) -> str:
    return _text(value).encode().decode()  # refuses half a surrogate pair, which no JSON reader takes


def to_entry(word: bytes, folder: bytes) -> Entry:
    """Return the path or the id that a line of a list means."""
    if word.startswith(SCHEME.encode()):
        return Entry(path=from_text(word.decode("ascii", "surrogateescape")))
    is_url = b"://" in word
    if not is_url and (b"/" in word or _extension(word) in EXTENSIONS or os.path.exists(_absolute(word, folder))):
        return Entry(path=_absolute(os.path.expanduser(word), folder))
    try:
        return Entry(track_id=word.decode("utf-8"))
    except UnicodeDecodeError:
        return Entry(path=_absolute(word, folder))


def _absolute(path: bytes, folder: bytes) -> bytes:
    here = os.path.abspath(path)
    beside = os.path.normpath(os.path.join(folder, path))
    return beside if not os.path.exists(here) and os.path.exists(beside) else here


def expand(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries with each folder replaced by the audio files below it, in the order in which a job plans."""
    for entry in entries:
        if entry.path is not None and entry.track_id is None and os.path.isdir(entry.path):
            yield from (Entry(path=path) for path in walk_audio(entry.path))
        else:
            yield entry


def linked_folders(entries: Iterable[Entry]) -> list[bytes]:
    """Return the folders that the search passes over because they lie behind symlinks, as far as a second shows."""
    deadline = time.monotonic() + LINKS_SECONDS
    found: list[bytes] = []
    for entry in entries:
        if entry.path is None or entry.track_id is not None:
            continue
        for folder, names, _ in os.walk(entry.path):
            found += [path for name in names if os.path.islink(path := os.path.join(folder, name))]
            if time.monotonic() > deadline:
                return found
    return found


def music_roots(entries: Iterable[Entry]) -> list[bytes]:
    """Return the folders that must be open to the workers so that they can read the entries, none inside another."""
    folders = set()
    for entry in entries:
        if entry.path is not None:
            real = os.path.realpath(entry.path)
            folders.add(real if os.path.isdir(real) else os.path.dirname(real))
    roots: list[bytes] = []
    for folder in sorted(folders, key=lambda path: path.rstrip(b"/") + b"/"):
        if not (roots and folder.startswith(roots[-1].rstrip(b"/") + b"/")):
            roots.append(folder)
    return roots
