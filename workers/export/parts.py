"""Writing one part of an export: the documents of a range in the export's format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO

from shared.jobs.data_export import Compression, ExtendedJson, Format, Options
from shared.model import Json
from workers.export import columnar, delimited
from workers.export.columns import Kind, columns_of, joined, kind_of
from workers.export.compression import compressing
from workers.export.extended_json import to_text
from workers.export.flat import NULLS, flatten

ARROW_COMPRESSION = {Compression.NONE: "none", Compression.GZIP: "gzip", Compression.ZSTD: "zstd"}
SEPARATOR = b",\n"
"""Between two documents of a JSON list, and so between two parts of one."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a part holds."""

    rows: int
    columns: Mapping[str, str] = field(default_factory=dict)  # name -> kind
    has_nulls: bool = False  # whether a Parquet part has the column of nulls


def write_part(documents: Iterable[Json], form: Format, options: Options, target: IO[bytes]) -> Written:
    """Write documents to a stream that stays open. Raises `ItemFailed`."""
    return _WRITERS[form](documents, options, target)


def _write_json(documents: Iterable[Json], options: Options, target: IO[bytes]) -> Written:
    return _write_texts(documents, options, target, before=SEPARATOR, after=b"")


def _write_lines(documents: Iterable[Json], options: Options, target: IO[bytes]) -> Written:
    return _write_texts(documents, options, target, before=b"", after=b"\n")


def _write_texts(
    documents: Iterable[Json], options: Options, target: IO[bytes], *, before: bytes, after: bytes
) -> Written:
    is_canonical = options.extended_json is ExtendedJson.CANONICAL
    columns: dict[str, Kind] = {}
    rows = 0
    with compressing(target, options.compression) as stream:
        for document in documents:
            for name, value in document.items():
                columns[name] = joined(columns.get(name, Kind.EMPTY), kind_of(value))
            text = to_text(document, is_canonical=is_canonical).encode()
            stream.write(b"".join((before if rows else b"", text, after)))
            rows += 1
    return Written(rows=rows, columns=columns)


def _write_csv(documents: Iterable[Json], options: Options, target: IO[bytes]) -> Written:
    rows = [flatten(document) for document in documents]
    columns = columns_of(rows)
    with compressing(target, options.compression) as stream:
        delimited.write_rows(rows, list(columns), stream)
    return Written(rows=len(rows), columns=columns)


def _write_parquet(documents: Iterable[Json], options: Options, target: IO[bytes]) -> Written:
    rows = [flatten(document) for document in documents]
    columns = columns_of(rows)
    table = columnar.to_table(rows, columns)
    # A part is read once more and then thrown away.
    columnar.write([table], table.schema, target, compression="zstd")
    return Written(rows=len(rows), columns=columns, has_nulls=NULLS in table.column_names)


_WRITERS: Mapping[Format, Callable[[Iterable[Json], Options, IO[bytes]], Written]] = {
    Format.JSON: _write_json,
    Format.JSONL: _write_lines,
    Format.CSV: _write_csv,
    Format.PARQUET: _write_parquet,
}
