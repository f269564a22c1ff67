"""Documents as CSV (RFC 4180, UTF-8): a row each, nested fields as dotted columns."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from shared.model import Json
from workers.export import cells
from workers.export.flat import unflatten

csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], target: IO[bytes]) -> None:
    """Write flat rows under these columns, without their names."""
    _write(([cells.write(row[name]) if name in row else "" for name in columns] for row in rows), target)


def header(columns: Sequence[str]) -> bytes:
    """Return the line that names the columns."""
    target = io.BytesIO()
    _write([[cells.write_name(name) for name in columns]], target)
    return target.getvalue()


def rewrite(lines: Iterable[str], columns: Sequence[str], wanted: Sequence[str], target: IO[bytes]) -> None:
    """Write rows that have some of the wanted columns with all of them, cell by cell as they are."""
    places = {name: place for place, name in enumerate(columns)}
    order = [places.get(name) for name in wanted]
    _write((["" if at is None else row[at] for at in order] for row in csv.reader(lines, strict=True)), target)


def _write(rows: Iterable[Sequence[str]], target: IO[bytes]) -> None:
    text = io.TextIOWrapper(target, encoding="utf-8", newline="")
    csv.writer(text).writerows(rows)
    text.flush()
    text.detach()  # the stream below stays open


def read_header(record: str) -> list[str]:
    """Return the names of the columns. Raises `ValueError`."""
    names = [cells.read_name(cell) for cell in read_record(record)]
    if len(set(names)) < len(names):
        raise ValueError("two columns have the same name")
    return names


def read_record(record: str) -> list[str]:
    """Return the cells of a record. Raises `ValueError`."""
    try:
        rows = list(csv.reader([record] if "\n" not in record else io.StringIO(record, newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if len(rows) != 1:
        raise ValueError("it is not one record")
    return rows[0]


def read_document(record: str, columns: Sequence[str]) -> Json:
    """Return the document that a record was. Raises `ValueError`."""
    found = read_record(record)
    if len(found) != len(columns):
        raise ValueError(f"it has {len(found)} cells for {len(columns)} columns")
    return unflatten(dict(_values(found, columns)))


def _values(found: Sequence[str], columns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(columns, found, strict=True):
        try:
            value = cells.read(cell)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if value is not cells.MISSING:
            yield name, value
