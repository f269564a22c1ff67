"""Laying out an import: where each row begins."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import SourceUnreadable
from shared.jobs.data_import import Format, Item, Request
from shared.jobs.job import JobContext, Planned
from shared.model import Cursor
from workers.imports.records import Records, is_header
from workers.imports.source import opened


def plan(request: Request, cursor: Cursor | None, context: JobContext) -> Iterator[Planned]:
    """Yield the rows behind a cursor. Raises `PlanFailed` where the file can't be read, or has changed."""
    with opened(request, context) as source:
        stream = source.stream
        if request.format is not Format.PARQUET:
            yield from _records(Records(stream, is_csv=request.format is Format.CSV), request, cursor)
            return
        try:
            rows = pq.ParquetFile(stream).metadata.num_rows
        except pa.ArrowException as error:
            raise SourceUnreadable(f"The file is no Parquet: {error}.") from None
        for row in range((cursor or {"row": 0})["row"], rows):
            yield Planned(item=Item(row=row + 1, at=row), cursor={"row": row + 1})


def _records(records: Records, request: Request, cursor: Cursor | None) -> Iterator[Planned]:
    row, place = (cursor or {}).get("row", 0), (cursor or {}).get("place", 0)
    for record in records.from_place(place):
        if record.start == 0 and is_header(record, is_csv=request.format is Format.CSV):
            continue
        if record.data.strip():
            row += 1
            yield Planned(item=Item(row=row, at=record.start), cursor={"row": row, "place": record.stop})
