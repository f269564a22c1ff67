"""`backline extract` on real audio: with a stack that runs, and with one just for the call."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from api.cli.batches import split
from api.cli.main import run
from deploy.running import read_running_stack
from deploy.stack import RunningStack
from tests.environment import variables_set

RATE = 8000


def write_tone(path: Path, hertz: float, seconds: float = 4.0) -> None:
    """Write a beating tone: quick to analyse, and no silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    angle = 2 * math.pi * hertz / RATE
    samples = (int(9000 * math.sin(angle * n) * (1 - n % 4000 / 4000)) for n in range(int(seconds * RATE)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))


@pytest.fixture(scope="module")
def music(music_root: Path) -> Path:
    """Three tracks, and a text that is named as one."""
    for number, name in enumerate(("a.wav", "b.wav", "album/=c.wav")):
        write_tone(music_root / name, 220.0 * (number + 1))
    (music_root / "text.mp3").write_text("not music")
    return music_root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, and a data folder where nothing runs."""
    monkeypatch.chdir(tmp_path)
    with variables_set(monkeypatch, {"BACKLINE_DATA_DIR": str(tmp_path / "data"), "BACKLINE_URL": None}):
        yield tmp_path


@pytest.fixture
def on_stack(stack: RunningStack, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, and the stack's data folder."""
    with variables_set(monkeypatch, {"BACKLINE_DATA_DIR": str(stack.data_dir)}):
        yield here


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `backline extract` as the shell does."""
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-m", "api.cli.main", "extract", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def metadata(out: str) -> Any:
    return json.loads(out)["metadata"]


# On a stack that runs


def test_a_folder_becomes_features_and_the_same_again_is_known(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["extract", str(music), "--user", "ada", "--json"]) == 1
    first = json.loads(capsys.readouterr().out)
    assert run(["extract", str(music), "--user", "ada"]) == 1
    second = capsys.readouterr()

    assert sorted(Path(one["path"]).name for one in first["features"]) == ["=c.wav", "a.wav", "b.wav"]
    assert all(one["duration_ms"] == pytest.approx(4000, abs=50) for one in first["features"])
    assert [(one["code"], Path(one["item"]).name) for one in first["errors"]] == [("not_audio", "text.mp3")]
    assert first["metadata"]["total_tracks"] == 3
    assert first["metadata"]["metrics"]["success_rate"] == 0.75
    assert first["metadata"]["failures"][0]["count"] == 1
    assert "partial: 3 tracks of 4" in second.out
    assert "cached           3" in second.out
    assert "not_audio" in second.out
    assert "Extracting: " in second.err


def test_the_same_audio_under_two_names_gives_each_its_own_row(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twins = music / "twins"
    write_tone(twins / "one.wav", 333.0)
    shutil.copy(twins / "one.wav", twins / "two.wav")
    named = [str(twins / "one.wav"), str(twins / "two.wav")]

    assert run(["extract", *named, "-o", "d.csv"]) == 0
    capsys.readouterr()
    assert run(["extract", *named, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert run(["jobs", "items", document["metadata"]["jobs"][0], "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]

    shutil.rmtree(twins)

    rows = list(csv.DictReader((on_stack / "d.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == named
    assert rows[0]["tempo"] == rows[1]["tempo"] != ""
    assert [one["path"] for one in document["features"]] == named
    assert [one["result"]["path"] for one in items] == named


def test_two_files_under_one_id_show_the_features_of_each(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [{"trackId": "both", "path": str(music / name)} for name in ("a.wav", "b.wav")]
    (on_stack / "tracks.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs))
    assert run(["extract", "tracks.jsonl", "--json"]) == 0
    features = json.loads(capsys.readouterr().out)["features"]
    assert [(one["trackId"], one["path"]) for one in features] == [("both", pair["path"]) for pair in pairs]
    assert len({one["contentHash"] for one in features}) == 2


def test_features_are_written_as_csv_that_no_spreadsheet_runs(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["extract", str(music), "--output", "features.csv", "--json"])
    report = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader((on_stack / "features.csv").read_text().splitlines()))
    assert (code, len(rows)) == (1, 4)
    assert report["output"] == str(on_stack / "features.csv")
    assert report["metadata"]["total_tracks"] == 3
    assert [row["status"] for row in rows if row["errorCode"]] == ["failed"]
    assert not any(cell.startswith("=") for row in rows for cell in row.values())


def test_good_files_alone_end_well_and_old_flags_are_taken(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (on_stack / "list.txt").write_text(f"# two\n{music}/a.wav\n{music}/b.wav\n")
    assert run(["extract", "list.txt", "--batch-size", "100", "-o", "x.json", "--format", "json"]) == 0
    assert "succeeded: 2 tracks of 2" in capsys.readouterr().out
    assert len(json.loads((on_stack / "x.json").read_text())["features"]) == 2


def test_the_output_may_be_standard_output_with_the_summary_beside_it(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["extract", str(music / "a.wav"), "-o", "-", "--format", "csv"]) == 0
    captured = capsys.readouterr()
    assert len(list(csv.DictReader(captured.out.splitlines()))) == 1
    assert "succeeded: 1 track of 1" in captured.err


def test_a_limit_takes_the_first_files_only(on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["extract", str(music), "--limit", "1", "--json"]) == 0
    assert [Path(one["path"]).name for one in json.loads(capsys.readouterr().out)["features"]] == ["a.wav"]


def test_ids_whose_file_is_known_are_analysed_and_unknown_ones_fail(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (on_stack / "tracks.json").write_text(json.dumps({"tracks": [{"trackId": "t1", "path": str(music / "a.wav")}]}))
    (on_stack / "ids.json").write_text(json.dumps({"track_ids": ["t1", "t2"]}))
    assert run(["extract", "tracks.json", "--user", "dora", "--json"]) == 0
    capsys.readouterr()
    assert run(["extract", "ids.json", "--user", "dora", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [one["trackId"] for one in answer["features"]] == ["t1"]
    assert [one["item"] for one in answer["errors"]] == ["t2"]


def test_a_file_outside_the_roots_says_how_to_open_its_folder(
    on_stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(on_stack / "outside.wav", 300.0)
    assert run(["extract", "outside.wav"]) == 1
    out = capsys.readouterr().out
    assert "outside_roots" in out
    assert "backline up --music DIR" in out


def test_a_folder_without_audio_says_so(
    on_stack: Path, stack: RunningStack, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (music / "empty").mkdir()
    assert run(["extract", str(music / "empty")]) == 1
    assert "no_items" in capsys.readouterr().out


def test_without_watching_the_job_is_left_to_the_stack(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["extract", str(music / "a.wav"), "--no-watch"]) == 0
    job_id = capsys.readouterr().out.strip()
    assert run(["jobs", "watch", job_id]) == 0
    capsys.readouterr()
    assert run(["jobs", "items", job_id]) == 0
    assert "a.wav" in capsys.readouterr().out
    assert run(["extract", str(music / "a.wav"), "--no-watch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["jobs"][0]["kind"] == "audio_features"


def test_more_than_one_request_can_hold_becomes_several_jobs(
    on_stack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("api.cli.submission.split", partial(split, entries_max=100))
    (on_stack / "ids.txt").write_text("".join(f"unknown{number}\n" for number in range(150)))
    assert run(["extract", "ids.txt", "--json"]) == 1
    figures = metadata(capsys.readouterr().out)
    assert len(figures["jobs"]) == 2
    assert (figures["metrics"]["total"], figures["metrics"]["failed"]) == (150, 150)


# Before anything is submitted


def test_a_dry_run_lists_what_would_be_submitted(here: Path, music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "list.txt").write_text("/nowhere/x.mp3\nid1\n")
    assert run(["extract", str(music), "list.txt", "--dry-run"]) == 0
    people = capsys.readouterr()
    assert run(["extract", str(music), "list.txt", "--dry-run", "--limit", "2", "--json"]) == 0
    programs = json.loads(capsys.readouterr().out)

    assert people.out.splitlines()[0] == str(music / "a.wav")
    assert "Would submit 5 files and 1 id in 1 job. Nothing was submitted." in people.err
    assert "/nowhere/x.mp3" in people.err.splitlines()[-1]
    assert (programs["files"], programs["ids"], programs["jobs"], programs["missing"]) == (2, 0, 1, [])


def test_a_dry_run_says_what_would_be_refused_and_what_is_passed_over(
    on_stack: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(on_stack / "own/outside.wav", 300.0)
    (on_stack / "own/link").symlink_to(music)
    assert run(["extract", "own", str(music / "a.wav"), "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "Not searched: 1 folder behind a symbolic link" in captured.err
    assert f"1 file would be refused, such as {on_stack}/own/outside.wav" in captured.err.replace("\n", "")
    assert "backline up --music DIR" in captured.err


def test_a_dry_run_that_finds_nothing_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    assert run(["extract", "empty", "--dry-run"]) == 1
    assert "There is no audio file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([""], 2, "is empty"),
        (["empty.mp3", "-o", "x.xlsx"], 2, "--format csv"),
        (["nowhere.mp3"], 2, "There is no file or folder"),
        (["bad.json"], 2, "no valid JSON"),
        (["empty.txt"], 2, "no path and no id"),
        (["empty.mp3", "-o", "nowhere/x.json"], 2, "There is no folder"),
        (["empty.mp3", "--format", "csv"], 2, "--output"),
        (["empty.mp3", "--json", "--format", "csv"], 2, "CSV"),
        (["empty.mp3", "--no-watch", "-o", "x.json"], 2, "--no-watch"),
        (["empty.mp3", "--no-watch"], 3, "backline up"),
        (["empty.mp3", "--limit", "0"], 2, "--limit"),
        ([], 2, "PATH"),
    ],
)
def test_what_can_not_work_is_refused_in_one_line_before_anything_starts(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    for name, content in (("bad.json", "{"), ("empty.txt", "\n"), ("empty.mp3", "")):
        (here / name).write_text(content)
    assert run(["extract", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert words in captured.err
    assert not (here / "data").exists()


# With a stack just for the call


def test_without_a_stack_one_is_started_for_the_call_and_what_it_found_out_stays(here: Path, music: Path) -> None:
    caf = os.fsencode(here) + b"/caf\xe9.wav"
    write_tone(here / "x.wav", 440.0)
    os.rename(here / "x.wav", caf)

    figures = []
    for _ in range(2):
        with start(str(music / "a.wav"), os.fsdecode(caf), "--json") as process:
            out, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
        figures.append(metadata(out)["metrics"])

    assert [(one["succeeded"], one["cached"]) for one in figures] == [(2, 0), (0, 2)]
    assert any(one["path"].endswith("/caf%E9.wav") for one in json.loads(out)["features"])
    assert read_running_stack(here / "data") is None


def test_a_second_call_waits_for_the_first_ones_stack(here: Path, music: Path) -> None:
    write_tone(here / "own.wav", 444.0)
    with start(str(music / "a.wav"), "--json") as first, start("own.wav", "--json") as second:
        ended = [process.communicate(timeout=150) for process in (first, second)]

    assert (first.returncode, second.returncode) == (0, 0), ended
    assert [metadata(out)["metrics"]["succeeded"] for out, _ in ended] == [1, 1]
    waited = [err for _, err in ended if "Waiting until that is done" in err]
    assert len(waited) == 1
    assert "Stopping the stack that was started for this call." in waited[0]


def test_ctrl_c_cancels_the_job_and_stops_the_stack_of_the_call(here: Path) -> None:
    for number in range(60):
        write_tone(here / f"music/{number}.wav", 200.0 + number, seconds=20.0)
    with start("music", "-o", "features.json") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "Extracting: running" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Cancelled." in err.splitlines()[-1]
    assert "Traceback" not in err
    assert out == ""
    assert read_running_stack(here / "data") is None
    assert not (here / "features.json").exists()
