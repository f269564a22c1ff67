"""A source is read whole, whatever it is packed and written in, or not at all."""

from __future__ import annotations

import gzip
import json
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.catalogue_data import entries, metadata, tracks, write_release, write_tracks
from workers.catalogue import spool
from workers.catalogue.document import ENTRY_BYTES_MAX, TOO_LARGE
from workers.catalogue.errors import DamagedError, TooLargeError
from workers.catalogue.formats import Form
from workers.catalogue.spool import Spool
from workers.spool import sweep

LIMIT = 1 << 30
DATA = list(entries(25))


def unpack(source: Path, folder: Path, *, form: Form | None = None, bytes_max: int = LIMIT) -> Spool:
    return spool.unpack(source, folder / "spool", "name", form=form, bytes_max=bytes_max)


def contents(found: Spool) -> list[Any]:
    """Return the entries in a spool, read as the work reads them: each at the offset of its line."""
    offsets, offset = [], 0
    for line in found.path.read_bytes().splitlines(keepends=True):
        offsets.append(offset)
        offset += len(line)
    return [json.loads(payload) for payload in spool.read_at(found.path, iter(offsets))]


def given(folder: Path, content: bytes, name: str = "source") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def document(data: Any, **around: Any) -> bytes:
    return json.dumps({**metadata("2026-11-20"), **around, "data": data}).encode()


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("form", [".json", ".jsonl"])
def test_every_form_and_packing_gives_the_same_entries(tmp_path: Path, form: str, packing: str) -> None:
    path = write_release(tmp_path / f"release{form}{packing}", DATA, "2026-11-20")

    found = unpack(path.rename(tmp_path / "without a telling name"), tmp_path)

    assert contents(found) == DATA
    assert (found.entries, found.form, found.last_update) == (25, Form.ANIME, "2026-11-20")


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"data": DATA, **metadata("2026-11-20")}).encode(),
        json.dumps({**metadata("2026-11-20"), "data": DATA}, indent=2).encode(),
        b"\xef\xbb\xbf" + document(DATA),
        b"\n\n  " + document(DATA),
        json.dumps(DATA).encode(),
        "\n".join(map(json.dumps, DATA)).encode(),
        "\r\n\r\n".join(map(json.dumps, DATA)).encode(),
    ],
    ids=["keys behind the data", "pretty", "BOM", "white space", "bare list", "no last newline", "blank lines"],
)
def test_ways_to_write_the_same(tmp_path: Path, content: bytes) -> None:
    assert contents(unpack(given(tmp_path, content), tmp_path)) == DATA


@pytest.mark.parametrize("content", [document([]), json.dumps(metadata("2026-11-20")).encode() + b"\n"])
def test_a_release_of_no_entries_is_read(tmp_path: Path, content: bytes) -> None:
    assert unpack(given(tmp_path, content), tmp_path).entries == 0


@pytest.mark.parametrize("name", ["tracks.csv", "tracks.csv.gz", "tracks.jsonl", "tracks.jsonl.zst"])
def test_tracks_are_told_by_what_they_say(tmp_path: Path, name: str) -> None:
    found = unpack(write_tracks(tmp_path / name, list(tracks(9))), tmp_path)

    assert (found.form, found.entries) == (Form.TRACKS, 9)
    assert [one["title"] for one in contents(found)] == [one["title"] for one in tracks(9)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_may_have_any_of_three_separators_and_breaks_in_its_cells(tmp_path: Path, separator: str) -> None:
    content = f'title{separator}artist\n"Two\nlines"{separator}"A ""B"" C"\n'.encode()

    assert contents(unpack(given(tmp_path, content), tmp_path)) == [{"title": "Two\nlines", "artist": 'A "B" C'}]


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstandard": zstandard.ZstdCompressor().compress,
    "document": lambda content: content,
}


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, -1])
def test_what_is_cut_off_is_refused_and_leaves_nothing(tmp_path: Path, packing: str, part: float) -> None:
    whole = PACK[packing](document(DATA))
    cut = whole[:-1] if part < 0 else whole[: int(len(whole) * part)]

    with pytest.raises(DamagedError):
        unpack(given(tmp_path, cut), tmp_path)

    assert [path.suffix for path in (tmp_path / "spool").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \n ",
        "\n".join(map(json.dumps, DATA)).encode()[:-5],
        document(DATA).decode().encode("utf-16"),
        b"<html><body>Not found</body></html>",
        os.urandom(4096).replace(b"{", b"x").replace(b"[", b"x"),
        gzip.compress(document(DATA))[:-4] + b"abcd",
        zstandard.ZstdCompressor(write_checksum=True).compress(document(DATA))[:-2] + b"ab",
        gzip.compress(document(DATA)) + b"garbage",
        b'title,artists\n"open',
        b"title,artists\nA,B\nC",
        document(DATA)[:-2] + b"}}",
    ],
    ids=[
        "empty",
        "blank",
        "lines",
        "utf-16",
        "html",
        "noise",
        "gzip sum",
        "zstd sum",
        "tail",
        "quote",
        "row",
        "braces",
    ],
)
def test_what_is_no_whole_source_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DamagedError):
        unpack(given(tmp_path, content), tmp_path)


def test_a_frame_to_skip_may_come_first(tmp_path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\0\0\0size"  # as parallel zstd writes it
    path = given(tmp_path, skipped + PACK["zstandard"](document(DATA)))

    assert contents(unpack(path, tmp_path)) == DATA


def test_packed_files_one_behind_the_other_are_one(tmp_path: Path) -> None:
    halves = [("\n".join(map(json.dumps, half)) + "\n").encode() for half in (DATA[:10], DATA[10:])]
    for name in ("gzip", "zstandard"):
        found = unpack(given(tmp_path, b"".join(map(PACK[name], halves))), tmp_path / name)
        assert contents(found) == DATA


def test_a_huge_line_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    huge = json.dumps({**DATA[0], "title": "x" * (30 * ENTRY_BYTES_MAX)}).encode()
    lines = [json.dumps(DATA[0]).encode(), huge, json.dumps(DATA[1]).encode()]
    path = given(tmp_path, b"\n".join(lines) + b"\n")
    tracemalloc.start()

    found = unpack(path, tmp_path)

    assert tracemalloc.get_traced_memory()[1] < 10 * ENTRY_BYTES_MAX
    tracemalloc.stop()
    payloads = [line.partition(b"\t")[2] for line in found.path.read_bytes().splitlines()]
    assert payloads[1].startswith(TOO_LARGE + str(len(huge) + 1).encode())
    assert [json.loads(payload) for payload in (payloads[0], payloads[2])] == DATA[:2]


def test_a_huge_entry_of_a_document_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    huge = {**DATA[0], "synonyms": ["synonym"] * (30 * ENTRY_BYTES_MAX // 8)}
    path = given(tmp_path, document([DATA[0], huge, DATA[1]]))
    del huge
    tracemalloc.start()

    found = unpack(path, tmp_path)

    assert tracemalloc.get_traced_memory()[1] < 40 * ENTRY_BYTES_MAX
    tracemalloc.stop()
    payloads = [line.partition(b"\t")[2] for line in found.path.read_bytes().splitlines()]
    assert payloads[1].startswith(TOO_LARGE)
    assert [json.loads(payload) for payload in (payloads[0], payloads[2])] == DATA[:2]


def test_a_text_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = given(tmp_path, gzip.compress(b'[{"title": "' + b"x" * (200 << 20), 1))

    with pytest.raises(DamagedError, match="text"):
        unpack(path, tmp_path, form=Form.ANIME)


def test_a_number_of_too_many_digits_is_refused(tmp_path: Path) -> None:
    path = given(
        tmp_path, document([{**DATA[0], "episodes": 1}]).replace(b'"episodes": 1', b'"episodes": ' + b"9" * 5000)
    )

    with pytest.raises(DamagedError):
        unpack(path, tmp_path)


@pytest.mark.parametrize("packing", ["gzip", "zstandard"])
def test_a_small_file_that_unpacks_without_end_is_refused(tmp_path: Path, packing: str) -> None:
    path = given(tmp_path, PACK[packing](b'{"data": [' + b" " * (64 << 20)))

    with pytest.raises(TooLargeError):
        unpack(path, tmp_path, bytes_max=8 << 20)


def test_memory_does_not_grow_with_the_source(tmp_path: Path) -> None:
    peaks = []
    for count in (2000, 10_000):
        path = write_release(tmp_path / f"{count}.json.gz", entries(count))
        tracemalloc.start()
        unpack(path, tmp_path / str(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.3 * peaks[0]


def test_a_source_is_unpacked_once_and_swept_when_nobody_asks_for_it(tmp_path: Path) -> None:
    path = write_release(tmp_path / "release.jsonl", DATA)
    first = unpack(path, tmp_path)
    path.unlink()

    assert unpack(path, tmp_path) == first
    sweep(tmp_path / "spool", age_max_seconds=-10.0)
    assert spool.find(tmp_path / "spool", "name") is None


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        (b'{"title":"Plain"}', "Plain"),
        (b'{"title":"\\"Quoted\\" \\u3042"}', '"Quoted" \u3042'),
        ('{"title":"\u3042"}'.encode(), "\u3042"),
        (b'{"sources":["https://anidb.net/anime/1"]}', "https://anidb.net/anime/1"),
        (b'{"title":"caf\xe9"}', "caf?"),
        (b"no JSON\tat all", ""),
    ],
)
def test_an_entry_is_labelled_for_people(tmp_path: Path, entry: bytes, label: str) -> None:
    content = json.dumps(DATA[0]).encode() + b"\n" + entry + b"\n"

    line = unpack(given(tmp_path, content), tmp_path).path.read_bytes().splitlines()[1]

    assert json.loads(line[: line.index(b"\t")]) == label
    assert line.partition(b"\t")[2] == entry


def test_any_bytes_are_read_or_refused(tmp_path: Path) -> None:
    chance = random.Random(5)
    whole = ("\n".join(map(json.dumps, DATA)) + "\n").encode()
    for number in range(200):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 30)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        try:
            found = unpack(given(tmp_path, bytes(broken)), tmp_path / str(number), form=Form.ANIME)
        except DamagedError:
            continue
        assert found.entries == found.path.read_bytes().count(b"\n")
