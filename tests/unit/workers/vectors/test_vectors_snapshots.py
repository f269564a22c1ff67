"""A snapshot is whole or not there, and what was changed on the disk is refused before anything opens it."""

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from tests.machine import ROOT
from tests.unit.workers.vectors.builder_process import build_for_ever
from workers.vectors import shelf as shelves
from workers.vectors.errors import (
    BuildInProgress,
    InvalidEntry,
    InvalidSchema,
    SnapshotClosed,
    SnapshotDamaged,
    SnapshotMissing,
    SnapshotOutdated,
    SnapshotUnsound,
)
from workers.vectors.manifest import MANIFEST
from workers.vectors.query import Query
from workers.vectors.schema import ID_MAX, Entry, Field, Kind, Schema, Space, Value
from workers.vectors.shelf import Shelf

from .conftest import DIMENSIONS, SCHEMA, made_entries, publish

KILLS = 20


def _hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".") and path.is_dir()]


def test_a_build_that_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with pytest.raises(InvalidEntry), shelf.building(SCHEMA) as build:
        build.put(Entry(id=""))

    assert shelf.names() == []
    assert _hidden(tmp_path) == []


def test_a_build_whose_parts_disagree_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = publish(tmp_path, made_entries(10))
    monkeypatch.setattr("workers.vectors.text_store.TextWriter.remove", lambda *_: None)  # a fault in one part

    with pytest.raises(SnapshotUnsound, match="9 entries"):
        publish(tmp_path, [], base=base, removed=["entry-00003"])

    assert Shelf(tmp_path).names() == [base]
    assert _hidden(tmp_path) == []


def test_an_empty_collection_can_be_published_searched_and_filled(tmp_path: Path) -> None:
    shelf, entries = Shelf(tmp_path), made_entries(5)
    empty = publish(tmp_path, [])
    with shelf.open(empty) as snapshot:
        assert len(snapshot) == 0
        query = Query(text="naruto", near={"text": np.ones(DIMENSIONS, np.float32), "audio": np.ones(5, np.float32)})
        assert snapshot.search(query) == []

    with shelf.open(publish(tmp_path, entries, base=empty)) as snapshot:
        assert set(snapshot.ids()) == {entry.id for entry in entries}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot with every kind of file."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.vectors.space.SCANNED_ROWS_MAX", 100)
        return folder / publish(folder, made_entries(300))


def test_a_flipped_bit_in_any_file_is_refused(published: Path, tmp_path: Path) -> None:
    chance = random.Random(1)
    files = sorted(path.name for path in published.iterdir())
    assert "space.text.usearch" in files
    assert "space.audio.usearch" in files
    for name in files:
        copy = tmp_path / published.name
        shutil.copytree(published, copy)
        size = (copy / name).stat().st_size
        for place in {0, size - 1, chance.randrange(size)}:
            _flip(copy / name, place)
            with pytest.raises(SnapshotDamaged, match=name if name != MANIFEST else "manifest"):
                Shelf(tmp_path).open(published.name)
            _flip(copy / name, place)
        Shelf(tmp_path).open(published.name).close()
        shutil.rmtree(copy)


def _flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("name", ["space.text.usearch", "texts.sqlite", "number.year.bin", MANIFEST])
def test_a_file_that_is_cut_off_or_gone_is_refused(published: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(published, tmp_path / published.name)
    path = tmp_path / published.name / name

    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(SnapshotDamaged):
        Shelf(tmp_path).open(published.name)
    path.unlink()
    with pytest.raises(SnapshotDamaged, match="not there"):
        Shelf(tmp_path).open(published.name)


def test_a_damaged_base_is_refused_and_nothing_is_left(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / published.name)
    _flip(tmp_path / published.name / "texts.sqlite", 5000)

    with pytest.raises(SnapshotDamaged), Shelf(tmp_path).building(SCHEMA, base=published.name):
        pass
    assert _hidden(tmp_path) == []
    with Shelf(tmp_path).building(SCHEMA) as build:
        build.publish()


def test_a_base_of_another_schema_is_refused(published: Path) -> None:
    other = Schema(spaces=SCHEMA.spaces, columns=SCHEMA.columns)
    with pytest.raises(SnapshotOutdated), Shelf(published.parent).building(other, base=published.name):
        pass


def test_a_base_of_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = publish(tmp_path, [])
    monkeypatch.setattr("workers.vectors.manifest.VERSION", 3)

    with pytest.raises(SnapshotOutdated, match="form 2"):
        Shelf(tmp_path).open(name)


@pytest.mark.parametrize("name", ["", "..", "../other", ".lock", "20260101T000000000000-" + "0" * 32])
def test_a_name_that_is_no_snapshots_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SnapshotMissing):
        Shelf(tmp_path / "shelf").open(name)


def test_cleaning_keeps_the_newest_and_the_named(tmp_path: Path) -> None:
    names = [publish(tmp_path, made_entries(number)) for number in range(5)]
    shelf = Shelf(tmp_path)
    assert shelf.names() == names

    assert shelf.clean(keep=[names[1]], last=2) == [names[0], names[2]]

    assert shelf.names() == [names[1], names[3], names[4]]
    with pytest.raises(SnapshotMissing):
        shelf.open(names[0])


def test_an_open_snapshot_outlives_its_cleaning(tmp_path: Path) -> None:
    entries, shelf = made_entries(50), Shelf(tmp_path)
    with shelf.open(publish(tmp_path, entries)) as snapshot:
        query = Query(text=entries[0].texts["title"][0], near=entries[0].vectors)
        before = snapshot.search(query)
        shelf.clean(last=0)
        assert shelf.names() == []
        assert snapshot.search(query) == before
        with ThreadPoolExecutor(6) as threads:  # which never touched it before
            assert list(threads.map(snapshot.search, [query] * 12)) == [before] * 12
        assert snapshot.entry(entries[1].id).texts == entries[1].texts


def test_two_builders_never_share_a_folder(tmp_path: Path) -> None:
    with Shelf(tmp_path).building(SCHEMA) as build:
        with pytest.raises(BuildInProgress), Shelf(tmp_path).building(SCHEMA):
            pass
        build.publish()
    assert len(Shelf(tmp_path).names()) == 1


def test_what_a_killed_process_left_goes_with_the_next_build(tmp_path: Path) -> None:
    for name in (f"{shelves._BUILDING}x", f"{shelves._LEAVING}y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    publish(tmp_path, [])

    assert _hidden(tmp_path) == []


def test_a_builder_killed_at_any_moment_leaves_only_whole_snapshots(tmp_path: Path) -> None:
    chance = random.Random(20)
    found, folder = 0, tmp_path / "shelf"
    shelf, seconds = Shelf(folder), _seconds_of_a_build(tmp_path / "first")
    for _ in range(KILLS):
        with _builder(folder) as (process, told):
            for _ in range(chance.randrange(3)):  # whole builds, however long they take on this machine today
                told.recv()
            process.join(chance.uniform(0, seconds))
            assert process.is_alive()
        names = shelf.names()
        found += len(names)
        for name in names:
            with shelf.open(name) as snapshot:
                assert len(snapshot) == 600
                assert snapshot.search(Query(text="naruto", near={"text": np.ones(DIMENSIONS, np.float32)})) != []
        newest = publish(folder, made_entries(1), base=names[-1] if names else None)
        assert _hidden(folder) == []
        assert shelf.names()[-1] == newest
        shelf.clean(last=0)
    assert found > KILLS / 4


@contextmanager
def _builder(folder: Path) -> Iterator[tuple[BaseProcess, "Connection[str, str]"]]:
    """Start a builder that is ready, and kill it in the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.unit.workers.vectors.builder_process"])
    told, tells = context.Pipe(duplex=False)
    process = context.Process(target=build_for_ever, args=(str(folder), tells))
    process.start()
    try:
        assert told.recv() == "ready"
        yield process, told
    finally:
        process.kill()
        process.join()
        told.close()
        tells.close()


def _seconds_of_a_build(folder: Path) -> float:
    with _builder(folder) as (_process, told):
        started = time.monotonic()
        told.recv()
        return time.monotonic() - started


IN_A_CHILD = """
import os, sys
from pathlib import Path
from workers.vectors.errors import OpenedElsewhere
from workers.vectors.query import Query
from workers.vectors.shelf import Shelf

shelf, name = Shelf(Path(sys.argv[1])), sys.argv[2]
snapshot = shelf.open(name)
first = snapshot.search(Query(text="naruto bebop"))

def search_in_a_child(opens):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        found = (shelf.open(name) if opens else snapshot).search(Query(text="naruto bebop"))
        os._exit(0 if found == first else 3)
    except OpenedElsewhere:
        os._exit(2)

assert search_in_a_child(opens=False) == 2
assert search_in_a_child(opens=True) == 0
assert snapshot.search(Query(text="naruto bebop")) == first
"""


def test_a_snapshot_is_opened_after_the_fork_and_never_before(published: Path) -> None:
    command = [sys.executable, "-c", IN_A_CHILD, str(published.parent), published.name]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)


def test_importing_the_package_opens_nothing_and_starts_nothing() -> None:
    code = """
import os, threading
from workers.vectors import shelf
from workers.vectors.embedders import minilm
files = [os.readlink(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd") if int(one) > 2 and
         os.path.exists(f"/proc/self/fd/{one}")]
assert not [one for one in files if not one.startswith("/proc")], files
assert threading.active_count() == 1
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_closed_snapshot_is_not_searched_and_keeps_no_file_open(tmp_path: Path) -> None:
    name = publish(tmp_path, made_entries(20))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with Shelf(tmp_path).open(name) as snapshot:
            snapshot.search(Query(text="naruto"))
        with pytest.raises(SnapshotClosed):
            snapshot.search(Query(text="naruto"))
        del snapshot
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"id": ""}, "is no id"),
        ({"id": "x" * (ID_MAX + 1)}, "is no id"),
        ({"id": "\udc80"}, "is no id"),
        ({"vectors": {"text": np.ones(3, np.float32)}}, r"shape \(3,\)"),
        ({"vectors": {"text": np.zeros(DIMENSIONS, np.float32)}}, "zero or not finite"),
        ({"vectors": {"text": np.full(DIMENSIONS, np.inf, np.float32)}}, "zero or not finite"),
        ({"vectors": {"picture": np.ones(3, np.float32)}}, "no space picture"),
        ({"texts": {"body": ["x"]}}, "no field body"),
        ({"texts": {"title": "x"}}, "list of texts"),
        ({"texts": {"title": ["\ud800"]}}, "valid Unicode"),
        ({"attributes": {"colour": "red"}}, "no column colour"),
        ({"attributes": {"year": "2001"}}, "finite number"),
        ({"attributes": {"year": float("nan")}}, "finite number"),
        ({"attributes": {"tags": 7}}, "text or texts"),
        ({"attributes": {"tags": ["a", "\udfff"]}}, "valid Unicode"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_and_the_others_go_on(
    tmp_path: Path, changed: dict[str, dict[str, Value]], says: str
) -> None:
    with Shelf(tmp_path).building(SCHEMA) as build:
        build.put(Entry(id="good"))
        with pytest.raises(InvalidEntry, match=says):
            build.put(Entry(**{"id": "bad", **changed}))  # type: ignore[arg-type]
        name = build.publish()
    with Shelf(tmp_path).open(name) as snapshot:
        assert list(snapshot.ids()) == ["good"]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"spaces": {"../text": Space(dimensions=2)}}, "no name"),
        ({"spaces": {"text": Space(dimensions=0)}}, "0 dimensions"),
        ({"columns": {"Year": Kind.NUMBER}}, "no name"),
        ({"fields": {"title": Field(weight=0)}}, "above 0"),
        ({"fields": {"title); DROP TABLE words": Field(weight=1)}}, "no name"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(parts: dict[str, dict[str, Space]], says: str) -> None:
    with pytest.raises(InvalidSchema, match=says):
        Schema(**parts)  # type: ignore[arg-type]


def test_fields_may_have_the_names_of_sql(tmp_path: Path) -> None:
    schema = Schema(fields={"rank": Field(weight=1), "rowid": Field(weight=2), "words": Field(weight=3)})
    with Shelf(tmp_path).building(schema) as build:
        build.put(Entry(id="a", texts={"rank": ["captain"], "rowid": ["seven"], "words": ["many"]}))
        name = build.publish()
    with Shelf(tmp_path).open(name) as snapshot:
        assert [hit.id for hit in snapshot.search(Query(text="captain"))] == ["a"]
