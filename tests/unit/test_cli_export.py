from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from api.cli.errors import WrongInput
from api.cli.export import (
    COLUMNS,
    FEATURES,
    Format,
    check_writable,
    format_of,
    safe_cell,
    to_row,
    whole_file,
    write_csv,
    write_features,
)
from api.cli.failures import group
from shared.store.contents import Features

GOOD: dict[str, Any] = {
    "index": 0,
    "item": {"path": "/m/a.mp3"},
    "status": "succeeded",
    "result": {"trackId": "a", "path": "/m/a.mp3", "tempo": 120.5, "key": 0, "mode": 1, "contentHash": "f00"},
    "error": None,
}


def bad(path: str, code: str = "not_found") -> dict[str, Any]:
    error = {"code": code, "message": f"There is no file {path}."}
    return {"index": 1, "item": {"path": path}, "status": "failed", "result": None, "error": error}


def test_a_csv_file_has_one_row_per_item_under_stable_columns() -> None:
    file = io.StringIO(newline="")
    write_csv(file, [GOOD, bad("/m/,b\n.mp3")])
    text = file.getvalue()

    rows = list(csv.DictReader(io.StringIO(text, newline="")))

    assert text.startswith("index,trackId,path,status,tempo,key,mode,")
    assert text.count("\r\n") == 3
    assert (rows[0]["tempo"], rows[0]["key"], rows[0]["energy"], rows[0]["status"]) == ("120.5", "0", "", "succeeded")
    assert (rows[1]["path"], rows[1]["errorCode"]) == ("/m/,b\n.mp3", "not_found")


def test_every_feature_has_a_column() -> None:
    assert set(FEATURES) == set(Features.model_fields)
    assert set(FEATURES) < set(COLUMNS)


def test_items_of_another_kind_stand_as_json_in_their_cells() -> None:
    file = io.StringIO(newline="")
    item = {"index": 3, "item": {"number": 3}, "status": "succeeded", "result": {"square": 9}, "error": None}
    write_csv(file, [item], kind="squares")
    row = next(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert (json.loads(row["item"]), json.loads(row["result"])) == ({"number": 3}, {"square": 9})


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+x", "'+x"),
        ("-x", "'-x"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("x=1", "x=1"),
        ("", ""),
        (-14.5, -14.5),
        (None, None),
    ],
)
def test_no_cell_is_a_formula(value: object, cell: object) -> None:
    assert safe_cell(value) == cell


def test_features_are_one_document_with_errors_and_metadata() -> None:
    file = io.StringIO()
    written = write_features(file, iter([GOOD, GOOD]), iter([bad("/x")]), lambda tracks: {"total_tracks": tracks})
    document = json.loads(file.getvalue())
    assert written == 2
    assert document["features"] == [GOOD["result"]] * 2
    assert document["errors"] == [
        {"item": "/x", "status": "failed", "code": "not_found", "message": "There is no file /x."}
    ]
    assert document["metadata"] == {"total_tracks": 2}


def test_nothing_is_a_document_too() -> None:
    file = io.StringIO()
    write_features(file, iter(()), iter(()), lambda tracks: {})
    assert json.loads(file.getvalue()) == {"features": [], "errors": [], "metadata": {}}


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "features.json"
    target.write_text("before")
    with pytest.raises(UnicodeEncodeError), whole_file(target) as file:
        file.writelines(["half", "\ud800"])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("features.json", "before")]
    with whole_file(target) as file:
        file.write("after")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("features.json", "after")]


def test_a_link_keeps_pointing_at_the_file_that_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("before")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    with whole_file(tmp_path / "link.json") as file:
        file.write("after")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "after"


def test_a_device_is_written_to_and_not_replaced() -> None:
    check_writable(Path("/dev/null"))
    with whole_file(Path("/dev/null")) as file:
        file.write("x")
    assert Path("/dev/null").is_char_device()


def test_a_place_that_can_not_be_written_is_refused_beforehand(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "x.json"):
        with pytest.raises(WrongInput, match=r"There is no folder|is a folder"):
            check_writable(path)
    check_writable(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("name", "wanted", "form"),
    [
        ("x.csv", None, Format.CSV),
        ("x.CSV", None, Format.CSV),
        ("x", None, Format.JSON),
        ("x.xlsx", Format.CSV, Format.CSV),
        ("x.csv", Format.JSON, Format.JSON),
    ],
)
def test_the_name_says_the_format_unless_it_is_given(name: str, wanted: Format | None, form: Format) -> None:
    assert format_of(Path(name), wanted) is form


def test_an_ending_that_stands_for_no_format_is_refused() -> None:
    with pytest.raises(WrongInput) as caught:
        format_of(Path("features.xlsx"), None)
    assert "--format json or --format csv" in caught.value.hint


def test_doubts_and_reasons_have_columns_of_their_own() -> None:
    result = {**GOOD["result"], "warnings": ["damaged", "truncated"], "reasons": {"key": "no_tonality"}}
    row = dict(zip(COLUMNS, to_row({**GOOD, "result": result}), strict=True))
    assert (row["warnings"], row["reasons"]) == ("damaged; truncated", "key: no_tonality")


def test_failures_are_grouped_by_code_with_a_few_examples() -> None:
    items = [bad(f"/m/{number}") for number in range(5)] + [bad("/m/c", "corrupt"), GOOD]
    reasons = group(items)
    assert [(reason.code, reason.count, len(reason.examples)) for reason in reasons] == [
        ("not_found", 5, 3),
        ("corrupt", 1, 1),
    ]
    assert reasons[0].examples[0] == {"item": "/m/0", "message": "There is no file /m/0."}
