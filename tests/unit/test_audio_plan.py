"""Which items a request leads to, and that a plan goes on exactly where it was left."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from shared.errors import InvalidRequest
from shared.jobs.audio_features import KIND, Item, Request, plan
from shared.jobs.job import JobContext, Planned
from shared.lifecycle import validate_request
from shared.model import Cursor
from shared.settings import Settings

LOCKED = b"locked"  # no folder of this name can be listed in these tests: root may read everything
DEPTH = 1_100  # more than Python's calls may be nested

Tree = Mapping[str, "Tree | None"]  # None is a file


def context(*roots: Path) -> JobContext:
    """Return the context of a plan, which asks no database."""
    db = MongoClient[dict[str, Any]](connect=False)["none"]
    return JobContext(job_id="job", owner="local", user_id="ada", epoch=0, db=db, settings=Settings(music_roots=roots))


def planned(root: Path, paths: Sequence[object], cursor: Cursor | None = None) -> list[Planned]:
    """Return the plan of these paths behind a cursor."""
    return list(plan(Request(paths=tuple(str(path) for path in paths)), cursor, context(root)))


def found(root: Path, *paths: object, cursor: Cursor | None = None) -> list[str]:
    """Return the paths of the plan of these paths behind a cursor."""
    return [path_of(one) for one in planned(root, paths, cursor)]


def path_of(one: Planned) -> str:
    assert isinstance(one.item, Item)
    assert one.item.path is not None
    return one.item.path


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> None:
    lock(monkeypatch)


def lock(patch: pytest.MonkeyPatch) -> None:
    genuine: Callable[[Any], Any] = os.scandir

    def refuse(path: object) -> Any:
        if isinstance(path, bytes) and os.path.basename(path.rstrip(b"/")) == LOCKED:
            raise PermissionError(errno.EACCES, "locked")
        return genuine(path)

    patch.setattr(os, "scandir", refuse)


# Resuming

NAMES = st.sampled_from(["a", "a.mp3", "a-b", "a b.flac", "B.WAV", "0", "caf\u00e9.ogg", "notes.txt", LOCKED.decode()])
TREES = st.recursive(
    st.dictionaries(NAMES, st.none(), max_size=4),
    lambda inner: st.dictionaries(NAMES, st.none() | inner, max_size=4),
    max_leaves=12,
)


def plant(folder: Path, tree: Tree) -> None:
    folder.mkdir()
    for name, below in tree.items():
        if below is None:
            (folder / name).touch()
        else:
            plant(folder / name, below)


def expected(folder: str, tree: Tree) -> Iterator[str]:
    """Yield what a plan of this tree holds, the plain way."""
    for name, below in sorted(tree.items(), key=lambda pair: pair[0].encode()):
        path = f"{folder}/{name}"
        if below is not None and name != LOCKED.decode():
            yield from expected(path, below)
        elif below is not None or Path(name).suffix.lower() in (".mp3", ".flac", ".wav", ".ogg"):
            yield path


@settings(max_examples=60, deadline=None, database=None)
@given(tree=TREES, slashes=st.sampled_from(["", "/", "//"]))
def test_behind_any_cursor_a_plan_yields_exactly_the_rest(tree: Tree, slashes: str) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        root = Path(name).resolve()
        plant(root / "music", tree)
        lock(patch)
        sources = [f"{root}/music{slashes}", root / "gone.mp3", root / "music"]

        whole = planned(root, sources)

        music = list(expected(f"{root}/music", tree))
        assert [path_of(one) for one in whole] == [*music, f"{root}/gone.mp3", *music]
        for n, one in enumerate(whole):
            assert planned(root, sources, one.cursor) == whole[n + 1 :]


@pytest.mark.usefixtures("locks")
def test_a_folder_that_cannot_be_read_is_one_item_once(tmp_path: Path) -> None:
    make(tmp_path, "a.mp3", "locked/b.mp3", "z.mp3")

    windows: list[str] = []
    cursor = None
    while (first := next(iter(planned(tmp_path, [tmp_path], cursor)), None)) and len(windows) < 10:
        windows.append(path_of(first))
        cursor = first.cursor

    assert windows == [f"{tmp_path}/a.mp3", f"{tmp_path}/locked", f"{tmp_path}/z.mp3"]


@pytest.mark.usefixtures("locks")
@pytest.mark.parametrize("slashes", ["", "/"])
def test_a_root_that_cannot_be_read_is_one_item_once(tmp_path: Path, slashes: str) -> None:
    make(tmp_path, "locked/b.mp3")

    (only,) = planned(tmp_path, [f"{tmp_path}/locked{slashes}"])

    assert path_of(only) == f"{tmp_path}/locked{slashes}"
    assert found(tmp_path, f"{tmp_path}/locked{slashes}", cursor=only.cursor) == []


@pytest.mark.parametrize("inside", ["", "/below"])
def test_a_folder_that_vanished_in_the_middle_is_at_its_end(tmp_path: Path, inside: str) -> None:
    make(tmp_path, "one/below/a.mp3", "one/below/b.mp3", "two.mp3")
    sources = [tmp_path / "one", tmp_path / "two.mp3"]
    first = planned(tmp_path, sources)[0]

    shutil.rmtree(f"{tmp_path}/one{inside}")

    assert found(tmp_path, *sources, cursor=first.cursor) == [f"{tmp_path}/two.mp3"]


def test_a_folder_that_became_a_file_in_the_middle_is_at_its_end(tmp_path: Path) -> None:
    make(tmp_path, "one.mp3/a.mp3", "two.mp3")
    first = planned(tmp_path, [tmp_path, tmp_path / "one.mp3"])

    shutil.rmtree(tmp_path / "one.mp3")
    make(tmp_path, "one.mp3")

    assert found(tmp_path, tmp_path, cursor=first[0].cursor) == [f"{tmp_path}/two.mp3"]
    assert found(tmp_path, tmp_path, tmp_path / "one.mp3", cursor=first[-1].cursor) == []


def test_a_folder_that_can_no_longer_be_read_in_the_middle_is_one_item_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "locked/a.mp3", "locked/b.mp3", "z.mp3")
    first = planned(tmp_path, [tmp_path])[0]

    lock(monkeypatch)
    second, third = planned(tmp_path, [tmp_path], first.cursor)

    assert [path_of(second), path_of(third)] == [f"{tmp_path}/locked", f"{tmp_path}/z.mp3"]
    assert planned(tmp_path, [tmp_path], second.cursor) == [third]


def test_a_folder_that_left_the_roots_in_the_middle_is_one_item_once(tmp_path: Path) -> None:
    make(tmp_path, "music/one/a.mp3", "music/one/b.mp3", "else/a.mp3", "else/c.mp3")
    music = tmp_path / "music"
    first = planned(music, [music / "one"])[0]

    shutil.rmtree(music / "one")
    (music / "one").symlink_to(tmp_path / "else")
    (only,) = planned(music, [music / "one"], first.cursor)

    assert path_of(only) == f"{music}/one"
    assert found(music, music / "one", cursor=only.cursor) == []


def test_what_was_never_there_is_an_item(tmp_path: Path) -> None:
    assert found(tmp_path, tmp_path / "gone", "/etc") == [f"{tmp_path}/gone", "/etc"]


def test_a_folder_that_vanishes_before_its_turn_is_an_item(tmp_path: Path) -> None:
    make(tmp_path, "a.mp3", "b/c.mp3", "d.mp3")
    steps = plan(Request(paths=(str(tmp_path),)), None, context(tmp_path))
    first = next(steps)

    shutil.rmtree(tmp_path / "b")

    assert [path_of(one) for one in (first, *steps)] == [f"{tmp_path}/{name}" for name in ("a.mp3", "b", "d.mp3")]


# Odd folders


@pytest.fixture
def deepest(tmp_path: Path) -> Iterator[str]:
    """The innermost of very many nested folders, which no recursive tool could remove."""
    folders = [f"{tmp_path}/d"]
    while len(folders) < DEPTH:
        folders.append(f"{folders[-1]}/d")
    for folder in folders:
        os.mkdir(folder)
    yield folders[-1]
    for folder in reversed(folders):
        for name in os.listdir(folder):
            if name != "d":
                os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def test_folders_may_be_nested_deeper_than_calls(tmp_path: Path, deepest: str) -> None:
    names = [f"{deepest}/a.mp3", f"{deepest}/b.mp3", f"{tmp_path}/z.mp3"]
    for name in names:
        open(name, "xb").close()

    whole = planned(tmp_path, [tmp_path])

    assert [path_of(one) for one in whole] == names
    assert planned(tmp_path, [tmp_path], whole[0].cursor) == whole[1:]


def test_folders_are_listed_when_their_turn_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/1.mp3", "b/2.mp3")
    listed, scandir = [], os.scandir

    def record(path: bytes) -> Any:
        listed.append(os.path.basename(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", record)
    next(plan(Request(paths=(str(tmp_path),)), None, context(tmp_path)))

    assert listed == [os.fsencode(tmp_path.name), b"a"]


@pytest.mark.parametrize("root", ["/", "//", "file:///"])
def test_the_root_of_all_is_walked_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    make(tmp_path, "a/1.mp3", "a/2.mp3", "b.mp3")
    scandir = os.scandir
    # A small world: what lies below / here is what lies in the test's folder.
    monkeypatch.setattr(os, "scandir", lambda path: scandir(os.fsencode(tmp_path) + path))

    whole = planned(Path("/"), [root])

    assert [path_of(one) for one in whole] == ["/a/1.mp3", "/a/2.mp3", "/b.mp3"]
    for n, one in enumerate(whole):
        assert planned(Path("/"), [root], one.cursor) == whole[n + 1 :]


def test_a_path_through_a_symlink_and_back_leads_where_the_kernel_goes(tmp_path: Path) -> None:
    make(tmp_path, "far/away/x.mp3", "far/y.mp3", "here/z.mp3")
    (tmp_path / "here/link").symlink_to(tmp_path / "far/away")
    back = f"{tmp_path}/here/link/.."

    assert found(tmp_path, back) == [f"{back}/away/x.mp3", f"{back}/y.mp3"]
    assert found(tmp_path / "here", back) == [back]


# The door


@pytest.mark.parametrize("path", ["a.mp3", "file://localhost/music/a.mp3", "/music/\0.mp3", "file:///music/%00.mp3"])
@pytest.mark.parametrize("field", ["paths", "tracks"])
def test_a_path_that_no_worker_could_open_is_refused_at_the_door(field: str, path: str) -> None:
    one: object = path if field == "paths" else {"trackId": "x", "path": path}

    with pytest.raises(InvalidRequest, match="must be an absolute path or a file:/// URI") as caught:
        validate_request(KIND, {field: ["/good.mp3" if field == "paths" else {"trackId": "y", "path": "/g"}, one]})

    assert [name for name, _ in caught.value.fields] == ["paths.1" if field == "paths" else "tracks.1.path"]
