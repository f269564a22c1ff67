"""Documents as Parquet: a typed column for each field, dotted where they are nested; JSON where no type holds all.

A null in the table is a null or a field that is not there; where there are nulls, the column ``__null__`` lists the
fields that are null. The kind of a column stands in its metadata under ``bson``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

from shared.model import Json
from workers.export.columns import Kind, kind_of
from workers.export.extended_json import date_of, from_text, to_text
from workers.export.flat import NULLS, unflatten

KIND = b"bson"
GROUP_BYTES = 4 << 20
"""A row group is this much of a table: what writing it and reading any row of it holds in memory."""
TYPES: Mapping[Kind, pa.DataType] = {
    Kind.EMPTY: pa.string(),
    Kind.BOOL: pa.bool_(),
    Kind.INT: pa.int64(),
    Kind.LONG: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.STRING: pa.string(),
    Kind.DATE: pa.timestamp("ms", tz="UTC"),
    Kind.OBJECT_ID: pa.string(),
    Kind.DECIMAL: pa.string(),
    Kind.BINARY: pa.binary(),
    Kind.JSON: pa.string(),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _milliseconds(value: Any) -> int:
    if not isinstance(value, datetime):
        return int(value)  # a DatetimeMS
    since = value - EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


_TO_ARROW: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.DATE: _milliseconds,
    Kind.OBJECT_ID: str,
    Kind.DECIMAL: str,
    Kind.DOUBLE: float,
    Kind.JSON: to_text,
}
_FROM_ARROW: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.DATE: date_of,
    Kind.OBJECT_ID: ObjectId,
    Kind.DECIMAL: Decimal128,
    Kind.JSON: from_text,
}


def schema_of(columns: Mapping[str, Kind], *, has_nulls: bool) -> pa.Schema:
    """Return the schema of a table with these columns."""
    fields = [pa.field(name, TYPES[kind], metadata={KIND: kind.value.encode()}) for name, kind in columns.items()]
    return pa.schema([*fields, pa.field(NULLS, pa.list_(pa.string()))] if has_nulls else fields)


def to_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Kind]) -> pa.Table:
    """Return flat rows as a table."""
    nulls = [[name for name, value in row.items() if value is None] for row in rows]
    arrays = [_array([row.get(name) for row in rows], kind) for name, kind in columns.items()]
    has_nulls = any(nulls)
    if has_nulls:
        arrays.append(pa.array([names or None for names in nulls], pa.list_(pa.string())))
    return pa.table(arrays, schema=schema_of(columns, has_nulls=has_nulls))


def _array(values: Sequence[Any], kind: Kind) -> pa.Array:
    change = _TO_ARROW.get(kind)
    if change is not None:
        values = [None if value is None else change(value) for value in values]
    if kind is Kind.DATE:
        return pa.array(values, pa.int64()).cast(TYPES[kind])
    return pa.array(values, TYPES[kind])


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema that holds everything that is in it."""
    return pa.table([_conformed(table, field) for field in schema], schema=schema)


def _conformed(table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    place = table.schema.get_field_index(field.name)
    if place < 0:
        return pa.nulls(table.num_rows, field.type)
    if field.name == NULLS:
        return table.column(place)
    before, after = _kind(table.schema.field(place)), _kind(field)
    if after is Kind.JSON and before is not Kind.JSON:
        return _array(_values(table.column(place), before), after)
    return table.column(place).cast(field.type)


def _kind(field: pa.Field) -> Kind | None:
    """Return the kind of a column; None in a file that somebody else has written."""
    text = (field.metadata or {}).get(KIND)
    return Kind(text.decode()) if text else None


def write(tables: Iterable[pa.Table], schema: pa.Schema, target: IO[bytes], *, compression: str) -> None:
    """Write tables of one schema as a file, in row groups of bounded size."""
    with pq.ParquetWriter(target, schema, compression=compression) as writer:
        waiting: list[pa.Table] = []
        for table in tables:
            waiting.append(table)
            if sum(one.nbytes for one in waiting) >= GROUP_BYTES:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


def documents_of(table: pa.Table) -> Iterator[Json]:
    """Yield the documents that the rows of a table were. Raises `ValueError`."""
    names = [name for name in table.column_names if name != NULLS]
    columns = [_values(table.column(name), _kind(table.schema.field(name))) for name in names]
    nulls = table.column(NULLS).to_pylist() if NULLS in table.column_names else [None] * table.num_rows
    for at in range(table.num_rows):
        is_null = frozenset(nulls[at] or ())
        row = {
            name: values[at]
            for name, values in zip(names, columns, strict=True)
            if values[at] is not None or name in is_null
        }
        yield unflatten(row)


def _values(column: pa.ChunkedArray, kind: Kind | None) -> list[Any]:
    """Return the values of a column as BSON has them, None where there is none."""
    if kind is None:
        return [_foreign(value) for value in column.to_pylist()]
    if kind is Kind.DATE:
        column = column.cast(pa.int64())
    change = _FROM_ARROW.get(kind)
    values: list[Any] = column.to_pylist()
    return values if change is None else [None if value is None else change(value) for value in values]


def _foreign(value: Any) -> Any:
    """Return a value of somebody else's file as BSON has it."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, dict):
        return {key: _foreign(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_foreign(one) for one in value]
    return value if value is None or kind_of(value) is not Kind.JSON else str(value)
