"""Only files inside the allowed folders are read, whatever happens between looking and opening."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from shared.items import ItemOutcome
from shared.jobs.audio_features import Item, Request
from shared.jobs.job import JobContext
from shared.settings import Settings
from workers.audio import decode
from workers.audio.decode import open_audio
from workers.audio.instruments import RATE
from workers.audio.job import analyse_files

from .conftest import Floats, Writer


@pytest.fixture
def analyse(tmp_path: Path) -> Iterator[Callable[[str], ItemOutcome]]:
    """Analyse one path below the root `music`, with no database to be asked: what is refused needs none."""
    (tmp_path / "music/album").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    with MongoClient[dict[str, Any]](connect=False) as mongo:
        settings = Settings(music_roots=(tmp_path / "music",))
        context = JobContext(job_id="job", owner="local", user_id="ada", epoch=0, db=mongo["none"], settings=settings)

        def one(path: str) -> ItemOutcome:
            request = Request(paths=(path,), force=True)
            (outcome,) = analyse_files(request, [Item(path=path)], context)
            return outcome

        yield one


def swap_after(patch: pytest.MonkeyPatch, name: str, folder: Path, target: Path) -> None:
    """Have `folder` replaced by a symlink to `target` right after the function of os or os.path looked into it."""
    module = os.path if name == "realpath" else os
    genuine = getattr(module, name)

    def swap(path: Any, *rest: Any, **options: Any) -> Any:
        answer = genuine(path, *rest, **options)
        if os.fsencode(path).startswith(os.fsencode(folder) + b"/") and not folder.is_symlink():
            folder.rename(folder.with_name("moved"))
            folder.symlink_to(target)
        return answer

    patch.setattr(module, name, swap)


@pytest.mark.parametrize("step", ["realpath", "stat"])
@pytest.mark.parametrize("content", [b"", b"no audio at all", None], ids=["empty", "text", "audio"])
def test_a_folder_that_is_swapped_for_a_symlink_in_between_is_no_way_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    analyse: Callable[[str], ItemOutcome],
    write: Writer,
    music: Floats,
    step: str,
    content: bytes | None,
) -> None:
    for folder in ("music/album", "secret"):
        write(f"{folder}/song.wav", music[: 4 * RATE])
    if content is not None:
        (tmp_path / "secret/song.wav").write_bytes(content)
    swap_after(monkeypatch, step, tmp_path / "music/album", tmp_path / "secret")

    outcome = analyse(f"{tmp_path}/music/album/song.wav")

    assert (tmp_path / "music/album").is_symlink()
    assert outcome.error is not None
    assert outcome.error.code == "outside_roots"
    assert "outside the folders that may be read" in outcome.error.message


def test_a_path_through_a_symlink_and_back_is_judged_by_where_the_kernel_goes(
    tmp_path: Path, analyse: Callable[[str], ItemOutcome], write: Writer, music: Floats
) -> None:
    (tmp_path / "secret/inner").mkdir()
    for folder in ("music", "secret"):
        write(f"{folder}/song.wav", music[: 4 * RATE])
    (tmp_path / "music/link").symlink_to(tmp_path / "secret/inner")

    outcome = analyse(f"{tmp_path}/music/link/../song.wav")

    assert outcome.error is not None
    assert outcome.error.code == "outside_roots"


@pytest.mark.parametrize("has_proc", [True, False])
def test_a_file_is_admitted_by_its_real_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Writer, music: Floats, has_proc: bool
) -> None:
    real = write("song.wav", music[:RATE])
    (tmp_path / "link.wav").symlink_to(real)
    if not has_proc:
        forget_proc(monkeypatch)
    seen: list[bytes] = []

    with open_audio(tmp_path / "link.wav", admit=seen.append) as stream:
        assert sum(len(block) for block in stream.blocks()) == RATE

    assert seen == [os.path.realpath(os.fsencode(real))]


def test_a_file_that_is_not_admitted_is_closed_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Writer, music: Floats
) -> None:
    def refuse(real: bytes) -> None:
        raise LookupError(real)

    monkeypatch.setattr(decode, "AudioStream", None)  # nobody may read
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(LookupError):
        open_audio(write("song.wav", music[:RATE]), admit=refuse)

    assert len(os.listdir("/proc/self/fd")) == before


def forget_proc(patch: pytest.MonkeyPatch) -> None:
    readlink = os.readlink

    def without_proc(path: Any) -> Any:
        if os.fsencode(path).startswith(b"/proc/"):
            raise FileNotFoundError(path)
        return readlink(path)

    patch.setattr(os, "readlink", without_proc)
