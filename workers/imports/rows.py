"""Reading the rows of an import as documents."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from shared.jobs.data_import import Format, Item
from shared.model import Json
from workers.export import columnar, delimited
from workers.export.extended_json import from_text
from workers.imports.records import BOM, Record, Records


class Rows(Protocol):
    """A file's rows."""

    def read(self, items: Sequence[Item]) -> Iterator[Json | ValueError]:
        """Yield the document of each row, or why it is none."""


def rows_of(stream: io.BufferedReader, form: Format) -> Rows:
    """Return the rows of a file."""
    return TableRows(stream) if form is Format.PARQUET else TextRows(stream, is_csv=form is Format.CSV)


class TextRows:
    """The rows of JSON Lines or CSV."""

    def __init__(self, stream: io.BufferedReader, *, is_csv: bool) -> None:
        """Read the names of the columns, where there are any."""
        self._records = Records(stream, is_csv=is_csv)
        first = next(self._records.from_place(0), None) if is_csv else None
        self._columns = delimited.read_header(_text(first)) if first else None
        self._following: Iterator[Record] = iter(())
        self._next_place = -1

    def read(self, items: Sequence[Item]) -> Iterator[Json | ValueError]:
        """Yield the document of each row, or why it is none."""
        for item in items:
            if item.at != self._next_place:
                self._following = self._records.from_place(item.at)
            record = next(self._following, None)
            if record is None:
                yield ValueError("the file has no such row any more")
                continue
            self._next_place = record.stop
            try:
                yield self._document(_text(record))
            except (ValueError, RecursionError) as error:
                yield ValueError(str(error))

    def _document(self, text: str) -> Json:
        if self._columns is not None:
            return delimited.read_document(text, self._columns)
        document = from_text(text)
        if not isinstance(document, dict):
            raise ValueError("it is no JSON object")
        return document


def _text(record: Record) -> str:
    data = record.data.removeprefix(BOM) if record.start == 0 else record.data
    return data.decode("utf-8").rstrip("\r\n")


class TableRows:
    """The rows of Parquet."""

    def __init__(self, stream: io.BufferedReader) -> None:
        """Read where the row groups begin."""
        self._file = pq.ParquetFile(stream)
        metadata = self._file.metadata
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._group = -1
        self._table = pa.table({})

    def read(self, items: Sequence[Item]) -> Iterator[Json | ValueError]:
        """Yield the document of each row, or why it is none."""
        for item in items:
            table = self._group_of(item.at).slice(item.at - self._starts[self._group], 1)
            try:
                yield next(columnar.documents_of(table))
            except (ValueError, StopIteration) as error:
                yield ValueError(str(error) or "the file has no such row any more")

    def _group_of(self, row: int) -> pa.Table:
        group = next((n for n, start in enumerate(self._starts[1:]) if row < start), len(self._starts) - 2)
        if group != self._group:
            self._group, self._table = group, self._file.read_row_group(group, use_threads=False)
        return self._table
