"""What is written in any format is read back as what it was, whatever BSON a document holds."""

from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime
from typing import Any

import bson
import pyarrow.parquet as pq
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.codec_options import CodecOptions
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from shared.jobs.data_export import Compression, ExtendedJson, Format, Options
from shared.model import Json
from workers.export import cells, columnar, delimited
from workers.export.columns import union
from workers.export.extended_json import CODEC, from_text
from workers.export.flat import NULLS, flatten, parts_of, unflatten
from workers.export.parts import write_part
from workers.export.streams import decompressed

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
ODD_TEXT = st.sampled_from(
    [
        *("", "null", "true", "3", "-0", "3.0", "1e5", "NaN", "0123", "[1]", "{", '"', "=1+1", "+1", "@a", "a,b"),
        *("2026-01-01T00:00:00.000Z", "65a000000000000000000000", " x ", "a\r\nb", "\t", "٣", "\ufeff", "\0", "ÿ'\""),
    ]
)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-100, 100).map(Int64),
    st.floats().map(lambda number: number if number == number else math.nan),  # one NaN is as good as another
    TEXT,
    ODD_TEXT,
    MOMENTS,
    st.binary(max_size=8),
    st.binary(max_size=8).map(lambda data: Binary(data, 128)),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9).map(Decimal128),
    st.integers(0, 2**32 - 1).map(lambda second: Timestamp(second, 1)),
    st.just(Code("return 1")),
    st.just(Regex("^a", "i")),
    st.just(MaxKey()),
    st.just(DBRef("users", "ada")),
)
NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0$"), max_size=6),
    st.sampled_from(("a", "b", "a.b", ".", "\\", "\\.", "a.", "__proto__", "tags", "__null__", "=1+1", '"', "@a", "+")),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
DOCUMENTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=5)
READING: CodecOptions[Json] = CodecOptions(tz_aware=True, tzinfo=UTC)


def stored(documents: list[Json]) -> list[Json]:
    """Return the documents as they are read for an export, having been in MongoDB."""
    return [bson.decode(bson.encode(document), CODEC) for document in documents]


def written(documents: list[Json], form: Format, **options: Any) -> bytes:
    target = io.BytesIO()
    write_part(documents, form, Options(**options), target)
    return target.getvalue()


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same: of one type, but for the width of numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if is_number(one) and is_number(other):
        return bool(one == other or (one != one and other != other))
    return type(one) is type(other) and bool(one == other)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def back(documents: list[Json]) -> list[Json]:
    """Return documents that were read from a file as MongoDB gives them."""
    return [bson.decode(bson.encode(document), READING) for document in documents]


@hypothesis_settings(deadline=None, max_examples=150)
@given(DOCUMENTS)
def test_canonical_json_lines_are_read_back_byte_for_byte(documents: list[Json]) -> None:
    lines = written(stored(documents), Format.JSONL, extended_json=ExtendedJson.CANONICAL).splitlines(keepends=True)
    read = [from_text(line) for line in lines if line]

    assert [bson.encode(one) for one in read] == [bson.encode(one) for one in documents]


@hypothesis_settings(deadline=None, max_examples=150)
@given(DOCUMENTS)
def test_relaxed_json_lines_are_read_back_as_the_same_values(documents: list[Json]) -> None:
    lines = written(stored(documents), Format.JSONL).split(b"\n")

    assert same(back([from_text(line) for line in lines if line]), back(documents))


@hypothesis_settings(deadline=None, max_examples=150)
@given(DOCUMENTS)
def test_csv_is_read_back_as_the_same_documents(documents: list[Json]) -> None:
    documents = [{"_id": at, **document} for at, document in enumerate(documents)]
    columns = list(dict.fromkeys(name for one in documents for name in flatten(one)))
    lines = decompressed(io.BytesIO(written(stored(documents), Format.CSV)))
    records = io.StringIO(lines.read().decode(), newline="")

    named = delimited.read_header(delimited.header(columns).decode().rstrip("\r\n"))
    read = [delimited.read_document(record, named) for record in split_records(records)]

    assert same(back(read), back(documents))


def split_records(text: io.StringIO) -> list[str]:
    """Return the records of a CSV file; a line break within quotes belongs to one."""
    records, record = [], ""
    for line in text:
        record += line
        if record.count('"') % 2 == 0:
            records.append(record)
            record = ""
    return records


@hypothesis_settings(deadline=None, max_examples=150)
@given(DOCUMENTS, DOCUMENTS)
def test_parquet_is_read_back_as_the_same_documents_also_from_parts_of_other_types(
    first: list[Json], second: list[Json]
) -> None:
    first, second = [[{"_id": at, **one} for at, one in enumerate(part)] for part in (first, second)]
    tables, columns = [], []
    for documents in (first, second):
        target = io.BytesIO()
        part = write_part(stored(documents), Format.PARQUET, Options(), target)
        tables.append(pq.read_table(io.BytesIO(target.getvalue())))
        columns.append(part.columns)
    has_nulls = any(NULLS in table.column_names for table in tables)
    schema = columnar.schema_of(union(columns), has_nulls=has_nulls)
    whole = io.BytesIO()
    columnar.write([columnar.conformed(table, schema) for table in tables], schema, whole, compression="zstd")

    read = list(columnar.documents_of(pq.read_table(io.BytesIO(whole.getvalue()))))

    assert same(back(read), back([*first, *second]))


@hypothesis_settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_a_flat_row_is_the_document_again(document: Json) -> None:
    assert same(unflatten(flatten(document)), document)


@pytest.mark.parametrize("compression", list(Compression))
def test_parts_that_follow_one_another_are_one_compressed_file(compression: Compression) -> None:
    one = written([{"n": 1}], Format.JSONL, compression=compression)
    other = written([{"n": 2}], Format.JSONL, compression=compression)

    assert decompressed(io.BytesIO(one + other)).read() == b'{"n":1}\n{"n":2}\n'


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "null"),
        (3, "3"),
        (3.0, "3.0"),
        ("3", '"3"'),
        ("", '""'),
        ("plain", "plain"),
        ("=SUM(A1)", '"=SUM(A1)"'),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00.000Z"),
        (ObjectId("65a000000000000000000000"), "65a000000000000000000000"),
        ([1, "a"], '[1,"a"]'),
    ],
)
def test_a_cell_shows_its_type(value: Any, cell: str) -> None:
    assert cells.write(value) == cell
    assert cells.read(cell) == value


def test_an_infinite_number_has_a_word() -> None:
    assert cells.read(cells.write(math.inf)) == math.inf
    assert cells.read(cells.write(-math.inf)) == -math.inf


def test_columns_are_named_by_their_path() -> None:
    assert list(flatten({"a": {"b": 1, "c.d": 2}})) == ["a.b", "a.c\\.d"]
    assert parts_of("a.c\\.d") == ("a", "c.d")


def test_a_formula_never_begins_a_cell() -> None:
    for start in cells.FORMULA_STARTS:
        name = f"{start}cmd|'/C calc'!A0"
        target = io.BytesIO()
        delimited.write_rows([{name: name}], [name], target)
        for line in (delimited.header([name]), target.getvalue()):
            [cell] = next(csv.reader(io.StringIO(line.decode(), newline="")))
            assert cell.startswith('"')
        assert delimited.read_header(delimited.header([name]).decode().removesuffix("\r\n")) == [name]
