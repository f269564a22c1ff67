"""The items of jobs as a file, JSON or CSV: written page by page, and in place only when it is whole."""

from __future__ import annotations

import csv
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

from api.cli.client import Json
from api.cli.errors import WrongInput
from api.cli.failures import name_of

MUSIC = "audio_features"  # spelt out: the module of that kind would bring the whole engine along
STANDARD_OUTPUT = Path("-")
FEATURES = (
    *("tempo", "key", "mode", "time_signature", "loudness", "energy", "danceability", "valence", "acousticness"),
    *("instrumentalness", "liveness", "speechiness", "duration_ms"),
)
COLUMNS = (
    "index",
    "trackId",
    "path",
    "status",
    *FEATURES,
    "contentHash",
    "errorCode",
    "errorMessage",
    "warnings",
    "reasons",
)
"""The columns of a CSV file of features; new ones are only ever added at the end."""
PLAIN_COLUMNS = ("index", "status", "item", "result", "errorCode", "errorMessage")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


class Format(StrEnum):
    """How a file of results is written."""

    JSON = "json"
    CSV = "csv"


def format_of(path: Path, wanted: Format | None) -> Format:
    """Return the wanted format, or the one that the file's name asks for; JSON where that has no ending.

    Raises `WrongInput` for an ending that stands for no format.
    """
    ending = path.suffix.lower().removeprefix(".")
    if wanted is not None or not ending:
        return wanted or Format.JSON
    try:
        return Format(ending)
    except ValueError:
        known = " or ".join(f"--format {form.value}" for form in Format)
        raise WrongInput(f"The ending of {path} stands for no format that is known.", hint=f"Add {known}.") from None


def choose_target(to: Path | None, wanted: Format | None, *, as_json: bool) -> tuple[Path, Format] | None:
    """Return where the results go and in which format; None for a table that people read.

    Raises `WrongInput` where the options contradict one another or the file can't be written.
    """
    target = to or (STANDARD_OUTPUT if as_json else None)
    if target is None:
        if wanted is not None:
            raise WrongInput("--format says how to write an --output, and there is none.", hint="Add --output FILE.")
        return None
    form = format_of(target, wanted)
    if as_json and target == STANDARD_OUTPUT and form is Format.CSV:
        raise WrongInput("--json and CSV can't both go to standard output.", hint="Leave one of them out.")
    check_writable(target)
    return target, form


def check_writable(path: Path) -> None:
    """Find out before the work, rather than after it, that a file can't be written. Raises `WrongInput`."""
    if path == STANDARD_OUTPUT:
        return
    if path.is_dir():
        raise WrongInput(f"{path} is a folder.", hint="Name a file for --output.")
    if not path.absolute().parent.is_dir():
        raise WrongInput(f"There is no folder {path.absolute().parent}.", hint="Make it first.")
    if not os.access(path if _is_special(path) else path.absolute().parent, os.W_OK):
        raise WrongInput(f"{path} can't be written.", hint="Choose another place for --output.")


def _is_special(path: Path) -> bool:
    """Whether a path is a pipe or a device, which can't be replaced as a whole."""
    return path.exists() and not path.is_file()


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a file that takes the place of `path` once it is complete; ``-`` is standard output."""
    if path == STANDARD_OUTPUT:
        yield sys.stdout
        sys.stdout.flush()
        return
    if _is_special(path):
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
        return
    target = path.resolve()  # behind a symlink, the file that it names is replaced
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with open(draft, "x", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def write_csv(file: TextIO, items: Iterable[Json], *, kind: str = MUSIC) -> None:
    """Write one row per item (RFC 4180); features have columns of their own, other kinds' values stand as JSON."""
    has_columns = kind == MUSIC
    writer = csv.writer(file)
    writer.writerow(COLUMNS if has_columns else PLAIN_COLUMNS)
    for item in items:
        row = to_row(item) if has_columns else _to_plain_row(item)
        writer.writerow([safe_cell(value) for value in row])


def to_row(item: Json) -> list[Any]:
    """Return an item of an `audio_features` job as the values of `COLUMNS`."""
    result, error, asked = item.get("result") or {}, item.get("error") or {}, item["item"]
    known = {
        **{name: result.get(name) for name in (*FEATURES, "contentHash")},
        "index": item["index"],
        "trackId": result.get("trackId") or asked.get("trackId"),
        "path": result.get("path") or asked.get("path"),
        "status": item["status"],
        "errorCode": error.get("code"),
        "errorMessage": error.get("message"),
        "warnings": "; ".join(result.get("warnings") or ()),
        "reasons": "; ".join(f"{name}: {reason}" for name, reason in (result.get("reasons") or {}).items()),
    }
    return [known[column] for column in COLUMNS]


def _to_plain_row(item: Json) -> list[Any]:
    result, error = item.get("result"), item.get("error") or {}
    values = (json.dumps(value, ensure_ascii=False) for value in (item["item"], result))
    return [item["index"], item["status"], *values, error.get("code"), error.get("message")]


def safe_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text that looks like one gets an apostrophe in front."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def write_features(file: TextIO, good: Iterable[Json], failed: Iterable[Json], metadata: Callable[[int], Json]) -> int:
    """Write ``{"features": [...], "errors": [...], "metadata": {...}}``, and return the number of features.

    `metadata` is asked last, with that number.
    """
    file.write('{"features": ')
    written = write_list(file, (item["result"] for item in good))
    file.write(', "errors": ')
    write_list(file, (_to_error(item) for item in failed))
    file.write(f', "metadata": {json.dumps(metadata(written), ensure_ascii=False)}}}\n')
    return written


def _to_error(item: Json) -> Json:
    return {"item": name_of(item), "status": item["status"], **(item.get("error") or {})}


def write_list(file: TextIO, values: Iterable[Any]) -> int:
    """Write a JSON list, a line each, and return the number of values."""
    count = 0
    file.write("[")
    for count, value in enumerate(values, start=1):
        file.write(("\n" if count == 1 else ",\n") + json.dumps(value, ensure_ascii=False))
    file.write("\n]" if count else "]")
    return count
