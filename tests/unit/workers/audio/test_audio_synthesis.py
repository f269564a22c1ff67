"""The demo tracks have a known truth, and the kernel finds it."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from workers.audio import synthesis
from workers.audio.decode import open_audio
from workers.audio.extractor import Extractor
from workers.audio.features import Features
from workers.audio.synthesis import DemoTrack, write_demo_tracks

Demo = tuple[Path, list[DemoTrack]]


@pytest.fixture(scope="module")
def found(demo: Demo) -> list[tuple[DemoTrack, Features]]:
    folder, tracks = demo
    return [(track, _analyse(folder / track.file)) for track in tracks]


def _analyse(path: Path) -> Features:
    with open_audio(path) as stream:
        extractor = Extractor(stream.rate, stream.channels)
        for block in stream.blocks():
            extractor.push(block)
    assert stream.warnings == []
    return extractor.finish()


def test_a_dozen_tracks_alternate_between_four_formats(demo: Demo) -> None:
    folder, tracks = demo

    suffixes = [Path(track.file).suffix for track in tracks]

    assert suffixes == [".wav", ".flac", ".ogg", ".mp3"] * 3
    assert json.loads((folder / "truth.json").read_text())[0] == {
        "file": "harbour.wav",
        "tempo": 120,
        "key": 0,
        "mode": 1,
        "time_signature": 4,
    }
    assert len({track.key for track in tracks if track.mode}) == 6
    assert {track.mode for track in tracks} == {0, 1}


def test_the_tempo_of_every_track_is_found_within_four_percent(found: list[tuple[DemoTrack, Features]]) -> None:
    assert {track.file: features.tempo.value for track, features in found} == {
        track.file: pytest.approx(track.tempo, rel=0.04) for track, _ in found
    }


def test_the_key_and_mode_of_every_track_are_found(found: list[tuple[DemoTrack, Features]]) -> None:
    assert {track.file: (features.key.value, features.mode.value) for track, features in found} == {
        track.file: (track.key, track.mode) for track, _ in found
    }


def test_the_metre_of_every_track_is_found(found: list[tuple[DemoTrack, Features]]) -> None:
    assert {track.file: features.time_signature.value for track, features in found} == {
        track.file: track.time_signature for track, _ in found
    }


def test_beats_fall_on_the_beat(found: list[tuple[DemoTrack, Features]]) -> None:
    for track, features in found:
        # the tracks start on a beat; the first and last seconds lack context
        inner = features.beats[4:-4]
        phase = inner * track.tempo / 60
        assert np.median(np.abs(phase - np.round(phase))) < 0.12, track.file
        assert np.median(np.diff(inner)) == pytest.approx(60 / track.tempo, rel=0.04)


def test_confidences_stay_between_zero_and_one(found: list[tuple[DemoTrack, Features]]) -> None:
    for _, features in found:
        assert 0.5 < features.tempo.confidence <= 1
        assert 0.5 < features.key.confidence <= 1
        assert features.tempo_alternative.confidence < features.tempo.confidence


def test_the_module_runs_as_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "_SCORES", synthesis._SCORES[:1])
    monkeypatch.setattr(sys, "argv", ["synthesis", str(tmp_path / "new" / "folder")])

    synthesis.main()

    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["harbour.wav", "truth.json"]


def test_a_dozen_tracks_are_written_in_seconds(tmp_path: Path) -> None:
    start = time.process_time()

    write_demo_tracks(tmp_path)

    assert time.process_time() - start < 12
